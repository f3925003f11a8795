package agent

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
)

// trio is three parties with their owners, each a folder of keys, who run a plan by the program's verbs.
type trio struct {
	t    *testing.T
	dir  string
	pass string
	plan mpc.Plan
	mu   sync.Mutex
}

func newTrio(t *testing.T) *trio {
	o := &trio{t: t, dir: t.TempDir(), plan: mpc.Plan{Version: 1, Job: "job-1", Adversary: share.SemiHonest, Generator: share.AESGenerator, Seconds: 300, Expires: time.Now().UTC().Add(time.Hour).Truncate(time.Second)}}
	o.pass = o.write("pass", "a long passphrase\n")
	o.write("subject", hex.EncodeToString(secret))
	for i, role := range []string{"agency", "operator", "custodian"} {
		o.plan.Parties = append(o.plan.Parties, mpc.Party{ID: sandbox.PartyID(fmt.Sprint("p", i)), Role: role, Organisation: sandbox.PartyID("org-" + role), Key: o.keys("party" + role),
			Owner: sandbox.IdentityID("owner-" + role), OwnerKey: o.keys("owner" + role)})
	}
	return o
}

// keys makes a folder of keys and gives its point.
func (o *trio) keys(name string) []byte {
	o.t.Helper()
	v, err := keys.Create(o.at(name), []byte("a long passphrase"), keys.Params{Time: 1, Memory: 8, Threads: 1}, rand.Reader)
	if err != nil {
		o.t.Fatal(err)
	}
	defer v.Close()
	return v.SigningKey().Public().Bytes()
}

func (o *trio) at(name string) string { return filepath.Join(o.dir, name) }

func (o *trio) write(name, text string) string {
	o.t.Helper()
	if err := os.WriteFile(o.at(name), []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return o.at(name)
}

// do runs a verb, wants its status, and gives what it printed.
func (o *trio) do(want int, args ...string) string {
	var out, errs bytes.Buffer
	a := &Agent{Out: &out, Err: &errs, Rand: rand.Reader, Now: time.Now}
	if code := a.Main(o.t.Context(), args); code != want {
		o.mu.Lock()
		o.t.Errorf("%v: status %d, want %d: %s", args[0], code, want, errs.String())
		o.mu.Unlock()
	}
	return out.String() + errs.String()
}

// explained drafts the plan of an inquiry by what explain says of it.
func (o *trio) explained(q agg.Inquiry) (x Explained) {
	o.t.Helper()
	text, err := json.Marshal(q)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(o.do(0, "explain", "--question", o.write("inquiry", string(text)))), &x); err != nil || !x.Runs {
		o.t.Fatalf("explained: %v", err)
	}
	o.plan.Operators = x.Operators
	for name, rows := range x.Outputs {
		o.plan.Outputs = append(o.plan.Outputs, mpc.Output{Name: name, Rows: rows})
	}
	for i, h := range x.Inputs {
		o.plan.Inputs = append(o.plan.Inputs, mpc.Input{Name: fmt.Sprint("t", i), Party: o.plan.Parties[h.Party].ID, Rows: h.Rows})
	}
	return x
}

// planned writes the plan and the question in their one encoding.
func (o *trio) planned() {
	o.t.Helper()
	draft, err := json.Marshal(o.plan)
	if err != nil {
		o.t.Fatal(err)
	}
	o.do(0, "plan", "--draft", o.write("draft", string(draft)), "--question", o.at("inquiry"), "--out", o.dir)
}

// runs has all three approve and run, each with flags of its own, and wants their status.
func (o *trio) runs(want int, own [3][]string) {
	o.t.Helper()
	listen, addresses := listeners(o.t)
	var wait sync.WaitGroup
	for i, p := range o.plan.Parties {
		approval := o.at("approval" + p.Role)
		o.do(0, "approve", "--keys", o.at("owner"+p.Role), "--passphrase-file", o.pass, "--plan", o.at("plan.json"), "--question", o.at("question.json"), "--party", string(p.ID), "--days", "1", "--out", approval)
		args := append([]string{"run", "--keys", o.at("party" + p.Role), "--passphrase-file", o.pass, "--plan", o.at("plan.json"), "--question", o.at("question.json"), "--party", string(p.ID),
			"--approval", approval, "--listen", listen[i], "--joined", o.at("joined" + p.Role), "--out", o.at("out" + p.Role), "--certificate", o.at("certificate" + p.Role), "--subject-key", o.at("subject")}, addresses...)
		if o.owns(p.ID) {
			args = append(args, "--ledger", o.at("ledger"+p.Role), "--ledger-key", o.at("subject"))
		}
		wait.Go(func() { o.do(want, append(args, own[i]...)...) })
	}
	wait.Wait()
	if o.t.Failed() {
		o.t.FailNow()
	}
}

// owns says whether a party brings rows.
func (o *trio) owns(id sandbox.PartyID) bool {
	return slices.ContainsFunc(o.plan.Inputs, func(in mpc.Input) bool { return in.Party == id })
}

// listeners opens three, and gives them as --listen takes them, and the flags of their addresses.
func listeners(t *testing.T) (listen, addresses []string) {
	t.Helper()
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		fd, err := syscall.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, "--address", l.Addr().String())
		listen = append(listen, fmt.Sprint("fd:", fd))
		_ = f.Close()
		_ = l.Close()
	}
	return listen, addresses
}

// answers holds what the parties wrote to the columnar engine's answer over the same rows.
func (o *trio) answers(q agg.Inquiry, claims, persons string) {
	o.t.Helper()
	var got Output
	for i, p := range o.plan.Parties {
		b, err := os.ReadFile(o.at("out" + p.Role))
		if err != nil {
			o.t.Fatal(err)
		}
		if bytes.Contains(b, []byte("p-1")) || bytes.Contains(b, []byte("secret note")) {
			o.t.Error("a row is in what a party writes")
		}
		var x Output
		if err := json.Unmarshal(b, &x); err != nil || i > 0 && fmt.Sprint(x.Answer) != fmt.Sprint(got.Answer) {
			o.t.Fatalf("%v, or parties have different answers", err)
		}
		got = x
		o.do(0, "verify", "--certificate", o.at("certificate"+p.Role), "--at", time.Now().UTC().Format(time.RFC3339))
	}
	want := plainly(o.t, q, claims, persons)
	shown := 0
	for _, c := range got.Answer {
		if !c.Shown {
			continue
		}
		shown++
		same := false
		for _, w := range want.Cells {
			same = same || w.Labels[0] == c.Labels[0] && fmt.Sprint(w.Values) == fmt.Sprint(c.Values)
		}
		if !same {
			o.t.Errorf("cell %q differs from the columnar engine's", c.Labels)
		}
	}
	if shown < 2 || len(got.Columns) != 4 || len(got.Tells) == 0 {
		o.t.Errorf("%d cells are shown", shown)
	}
}
