// Command opdomain-verify (离线核验) checks an evidence bundle of a domain offline. It opens no connection, holds no key and
// reaches nothing that can read data: only package attest, which it is a front end of. Exit statuses: 0 the bundle is
// accepted, 1 it is rejected, 2 the command was used wrongly or the file cannot be read.
package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

const usage = `opdomain-verify checks an evidence bundle offline, trusting nobody. 离线核验存证包

usage: opdomain-verify [--key FILE|HEX] [--json] BUNDLE

  --key FILE|HEX  the domain's signing key you trust: its fingerprint (32 hex digits), or a file with or the text of
                  the 65-byte SM2 point in hex. Without it, compare the fingerprint in the report yourself.
  --json          print the report as JSON

exit status: 0 accepted 通过, 1 rejected 拒绝 (the place and the failed check are printed), 2 wrong usage or unreadable file
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errOut io.Writer) int {
	fs := flag.NewFlagSet("opdomain-verify", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	key := fs.String("key", "", "")
	asJSON := fs.Bool("json", false, "")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(out, usage)
		return 0
	} else if err != nil || fs.NArg() != 1 {
		fmt.Fprint(errOut, usage)
		return 2
	}
	var pin *sm.VerifyKey
	var fingerprint string
	if *key != "" {
		var err error
		if pin, fingerprint, err = readKey(*key); err != nil {
			return report(errOut, err, 2)
		}
	}
	f, err := os.Open(fs.Arg(0))
	if err != nil {
		return report(errOut, &sandbox.Error{Op: "open", Kind: sandbox.NotFound, Object: fs.Arg(0), Detail: "the bundle cannot be read"}, 2)
	}
	defer f.Close()
	r, err := attest.VerifyBundle(f, pin)
	if errors.Is(err, sandbox.Unavailable) {
		return report(errOut, err, 2)
	}
	if err == nil && fingerprint != "" && r.Fingerprint != fingerprint {
		err = &sandbox.Error{Op: "bundle: verify", Kind: sandbox.Tampered, Object: "line 1", Detail: "the bundle is signed by another key than the one given"}
	}
	if err != nil {
		fmt.Fprintln(errOut, "REJECTED 核验不通过: this bundle is not what the domain signed, or it breaks a rule")
		return report(errOut, err, 1)
	}
	if *asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(r); err != nil {
			return report(errOut, err, 2)
		}
		return 0
	}
	fmt.Fprint(out, r.Text())
	if *key == "" {
		fmt.Fprintln(out, "The key comes from the bundle itself: compare the fingerprint with the one the domain publishes. 请核对签名公钥指纹")
	}
	if len(r.NotChecked) > 0 || r.Hidden > 0 {
		fmt.Fprintln(out, "ACCEPTED 核验通过: everything in sight holds; what is marked hidden was not checked 隐藏部分未核验")
	} else {
		fmt.Fprintln(out, "ACCEPTED 核验通过: every entry, signature and rule above holds")
	}
	return 0
}

// readKey gives the key, or the fingerprint of it, that s names or holds.
func readKey(s string) (*sm.VerifyKey, string, error) {
	text := s
	if b, err := os.ReadFile(s); err == nil {
		text = string(b)
	}
	text = strings.ToLower(strings.TrimSpace(text))
	b, err := hex.DecodeString(text)
	if err == nil && len(b) == sm.Size/2 {
		return nil, text, nil
	}
	if err == nil {
		if k, err := sm.ParseVerifyKey(b); err == nil {
			return k, "", nil
		}
	}
	return nil, "", &sandbox.Error{Op: "key", Kind: sandbox.Invalid, Object: "--key", Detail: "a fingerprint of 32 hex digits, or a file with or the text of an SM2 point of 65 bytes in hex"}
}

func report(w io.Writer, err error, status int) int {
	fmt.Fprintln(w, "error:", err)
	var e *sandbox.Error
	if errors.As(err, &e) {
		hint := e.Hint
		if hint == "" && status == 1 {
			hint = "ask the domain for the bundle again; if it fails again, keep both copies as evidence"
		}
		if hint != "" {
			fmt.Fprintln(w, "hint:", hint)
		}
	}
	return status
}
