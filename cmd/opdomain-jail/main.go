// Command opdomain-jail (隔离启动程序) is what the jail starts before a plug-in, the host of wasm modules inside it, and there also the parser of
// files of untrusted formats and the engine of homomorphic encryption. It stands beside opdomain, is linked statically
// (CGO_ENABLED=0 go build ./cmd/opdomain-jail), and does nothing when a person starts it but say so. opdomain itself can take its place for
// native plug-ins; this program is there because it starts in a fraction of the time, because a program linked dynamically, as opdomain
// is where it drives devices of keys, cannot run in an empty root, and because no other links a reader of XLSX, Parquet or Arrow IPC.
//
// Exit statuses: 2 when it was not started by the jail; inside, what the jail says.
package main

import (
	"crypto/rand"
	"fmt"
	"os"

	"github.com/opdomain/opdomain/connectors/file/parse/child"
	"github.com/opdomain/opdomain/mpc/he/jailed"
	"github.com/opdomain/opdomain/sandbox/jail"
)

func main() {
	jail.Enter()
	if code := jailed.Enter(rand.Reader); code >= 0 {
		os.Exit(code)
	}
	child.Enter()
	fmt.Fprintln(os.Stderr, "error: opdomain-jail is started by opdomain, to confine a plug-in or a parser")
	fmt.Fprintln(os.Stderr, "hint: keep it beside opdomain; opdomain doctor says what the jail has on this machine")
	os.Exit(2)
}
