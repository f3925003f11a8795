// Package inert switches off what the SQL parser's fault injection would read from the environment (故障注入开关). The parser
// links github.com/pingcap/failpoint, whose init opens an HTTP port for GO_FAILPOINTS_HTTP and changes behaviour for
// GO_FAILPOINTS: no program of the domain is to do either for whoever sets its environment. Go initializes packages that are
// ready in the order of their import paths, and this one, which needs only os, is ready and named before failpoint; a
// test of package sql starts a process to see it. It does nothing else.
package inert

import "os"

func init() {
	for _, name := range []string{"GO_FAILPOINTS", "GO_FAILPOINTS_HTTP"} {
		_ = os.Unsetenv(name) // a name without "=" or NUL cannot fail
	}
}
