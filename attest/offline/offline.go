// Package offline is the offline verifier (离线核验) as a command: it checks evidence bundles, proofs of one entry and proofs of
// growth. It opens no connection, holds no key and reaches nothing that can read data: only package attest, which it is a
// front end of. opdomain-verify is this package alone; opdomain evidence verify is the same.
package offline

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

const usage = `opdomain-verify checks evidence offline, trusting nobody. 离线核验存证

usage: opdomain-verify [options] FILE

  FILE            an evidence bundle 存证包, the proof of one entry 存证证明, or a proof of growth 增长证明

  --key FILE|HEX  the domain's signing key you trust: its fingerprint (32 hex digits), or a file with or the text of
                  the 65-byte SM2 point in hex. Without it, compare the fingerprint in the report yourself.
  --old FILE      for a proof of growth: the checkpoint you kept, as opdomain evidence checkpoint printed it
  --witness FILE  a witness's witness.json, got from the witness itself: the file's checkpoint must bear its signature;
                  repeat for more, and all of them must have signed
  --json          print the report as JSON

exit status: 0 accepted 通过, 1 rejected 拒绝 (the place and the failed check are printed), 2 wrong usage or unreadable file
`

// options are those of the command line.
type options struct {
	pin         *sm.VerifyKey
	fingerprint string
	old         string
	witnesses   []tlog.WitnessKey
}

// Main runs the verifier and gives its exit status.
func Main(args []string, out, errOut io.Writer) int {
	fs := flag.NewFlagSet("opdomain-verify", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	key := fs.String("key", "", "")
	old := fs.String("old", "", "")
	asJSON := fs.Bool("json", false, "")
	var witnesses []string
	fs.Func("witness", "", func(s string) error { witnesses = append(witnesses, s); return nil })
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(out, usage)
		return 0
	} else if err != nil || fs.NArg() != 1 {
		fmt.Fprint(errOut, usage)
		return 2
	}
	var o options
	var err error
	if *key != "" {
		if o.pin, o.fingerprint, err = readKey(*key); err != nil {
			return report(errOut, err, 2)
		}
	}
	if *old != "" {
		b, err := os.ReadFile(*old)
		if err != nil {
			return report(errOut, &sandbox.Error{Op: "open", Kind: sandbox.NotFound, Object: *old, Detail: "the checkpoint cannot be read"}, 2)
		}
		o.old = string(b)
	}
	for _, path := range witnesses {
		w, err := readWitness(path)
		if err != nil {
			return report(errOut, err, 2)
		}
		o.witnesses = append(o.witnesses, w)
	}
	f, err := os.Open(fs.Arg(0))
	if err != nil {
		return report(errOut, &sandbox.Error{Op: "open", Kind: sandbox.NotFound, Object: fs.Arg(0), Detail: "the file cannot be read"}, 2)
	}
	defer f.Close()
	found, err := o.check(f)
	if errors.Is(err, sandbox.Unavailable) {
		return report(errOut, err, 2)
	}
	if err != nil {
		fmt.Fprintln(errOut, "REJECTED 核验不通过: this is not what the domain signed, or it breaks a rule")
		return report(errOut, err, 1)
	}
	if *asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(found.report); err != nil {
			return report(errOut, err, 2)
		}
		return 0
	}
	fmt.Fprint(out, found.text)
	if *key == "" {
		fmt.Fprintln(out, "The key comes from the file itself: compare the fingerprint with the one the domain publishes. 请核对签名公钥指纹")
	}
	fmt.Fprintln(out, "ACCEPTED 核验通过:", found.verdict)
	return 0
}

// found is what a file was found to hold.
type found struct {
	report        any
	text, verdict string
}

// check tells the kind of a file by its first line and checks it.
func (o options) check(f *os.File) (found, error) {
	head := make([]byte, 64)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return found{}, &sandbox.Error{Op: "verify", Kind: sandbox.Unavailable, Object: "file", Detail: "it cannot be read"}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return found{}, &sandbox.Error{Op: "verify", Kind: sandbox.Unavailable, Object: "file", Err: err}
	}
	start := func(format string) bool { return bytes.HasPrefix(head[:n], []byte(`{"format":"`+format+`"`)) }
	if !start(attest.ProofFormat) && !start(attest.GrowthFormat) {
		return o.bundle(f)
	}
	b, err := io.ReadAll(io.LimitReader(f, attest.MaxProof+1))
	if err != nil {
		return found{}, &sandbox.Error{Op: "verify", Kind: sandbox.Unavailable, Object: "file", Err: err}
	}
	if start(attest.ProofFormat) {
		return o.proof(b)
	}
	return o.growth(b)
}

func (o options) bundle(f io.Reader) (found, error) {
	r, err := attest.VerifyBundle(f, o.pin)
	if err == nil {
		err = o.signedBy("line 1", r.Fingerprint)
	}
	if err != nil {
		return found{}, err
	}
	for _, w := range o.witnesses { // checked by VerifyBundle against the key in the evidence, which is to be the one at hand
		if !r.Witnessed.By(w.Name, w.Key) {
			return found{}, &sandbox.Error{Op: "verify", Kind: sandbox.Tampered, Object: "witness " + w.Name, Detail: "it has not signed this bundle's checkpoint under the key given"}
		}
	}
	verdict := "every entry, signature and rule above holds"
	if len(r.NotChecked) > 0 || r.Hidden > 0 {
		verdict = "everything in sight holds; what is marked hidden was not checked 隐藏部分未核验"
	}
	return found{r, r.Text(), verdict}, nil
}

func (o options) proof(b []byte) (found, error) {
	r, err := attest.VerifyProof(b, o.pin)
	if err == nil {
		err = o.signedBy("proof", r.Fingerprint)
	}
	if err != nil {
		return found{}, err
	}
	seen, err := o.witnessed(r.Note)
	if err != nil {
		return found{}, err
	}
	text := heading(r.Origin, r.Fingerprint) + fmt.Sprintf("entry 存证条目         %d of 共 %d, %s\n", r.Index, r.Size, hex.EncodeToString(r.Entry))
	if e := r.Event; e != nil {
		text += fmt.Sprintf("event 事件             %s  %s  by 操作者 %s  about 对象 %s\n", e.At.Format("2006-01-02 15:04:05 UTC"), e.Kind, e.Actor, e.Object)
	} else {
		text += "event 事件             not shown 未出示\n"
	}
	return found{r, text + seen, "the entry is in the log of the signed checkpoint"}, nil
}

func (o options) growth(b []byte) (found, error) {
	if o.old == "" {
		return found{}, &sandbox.Error{Op: "verify", Kind: sandbox.Unavailable, Object: "--old", Detail: "a proof of growth is checked against the checkpoint you kept", Hint: "name it with --old"}
	}
	r, err := attest.VerifyGrowth(b, o.pin, o.old)
	if err == nil {
		err = o.signedBy("proof", r.Fingerprint)
	}
	if err != nil {
		return found{}, err
	}
	seen, err := o.witnessed(r.Note)
	if err != nil {
		return found{}, err
	}
	text := heading(r.Origin, r.Fingerprint) + fmt.Sprintf("entries 存证条目       %d when you kept the checkpoint, %d now\n", r.From, r.Size)
	return found{r, text + seen, "the log has only grown since"}, nil
}

func heading(origin, fingerprint string) string {
	return fmt.Sprintf("log 存证日志           %s\nsigning key 签名公钥   SM3 %s\n", origin, fingerprint)
}

// signedBy holds the key of a file against the fingerprint given.
func (o options) signedBy(object, fingerprint string) error {
	if o.fingerprint != "" && fingerprint != o.fingerprint {
		return &sandbox.Error{Op: "verify", Kind: sandbox.Tampered, Object: object, Detail: "the file is signed by another key than the one given"}
	}
	return nil
}

// witnessed wants the co-signatures of all witnesses given, and says who signed.
func (o options) witnessed(n tlog.Note) (string, error) {
	for _, w := range o.witnesses {
		signed := false
		for _, s := range n.Cosignatures {
			if s.Name == w.Name && s.Verify(n.Checkpoint, w.Key) == nil {
				signed = true
			}
		}
		if !signed {
			return "", &sandbox.Error{Op: "verify", Kind: sandbox.Tampered, Object: "witness " + w.Name, Detail: "it has not signed this checkpoint under the key given"}
		}
	}
	var lines strings.Builder
	for _, s := range n.Cosignatures {
		how := "not checked: no key of it was given 未核验"
		for _, w := range o.witnesses {
			if w.Name == s.Name {
				how = "signed 已签 " + s.Time.UTC().Format(time.DateTime)
			}
		}
		fmt.Fprintf(&lines, "witness 见证           %s, %s\n", s.Name, how)
	}
	return lines.String(), nil
}

// readWitness reads name and key from a witness's description.
func readWitness(path string) (tlog.WitnessKey, error) {
	bad := &sandbox.Error{Op: "witness", Kind: sandbox.Invalid, Object: path, Detail: "a file as opdomain witness init writes it"}
	b, err := os.ReadFile(path)
	var w struct {
		Name string `json:"name"`
		Key  []byte `json:"key"`
	}
	if err != nil || json.Unmarshal(b, &w) != nil || w.Name == "" {
		return tlog.WitnessKey{}, bad
	}
	key, err := sm.ParseVerifyKey(w.Key)
	if err != nil {
		return tlog.WitnessKey{}, bad
	}
	return tlog.WitnessKey{Name: w.Name, Key: key}, nil
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
			hint = "ask the domain for it again; if it fails again, keep both copies as evidence"
		}
		if hint != "" {
			fmt.Fprintln(w, "hint:", hint)
		}
	}
	return status
}
