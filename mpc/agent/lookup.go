package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/mpc/psi/lookup"
	"github.com/opdomain/opdomain/mpc/psi/session"
	"github.com/opdomain/opdomain/sandbox"
)

// maxElements bounds the elements of one call of ask.
const maxElements = 10_000

// LookupOutput (单条查询结果文件) is what lookup ask writes: an answer for each element, in their order; those behind the quota have none.
type LookupOutput struct {
	Run     sandbox.RunID `json:"run"`
	Found   []bool        `json:"found"`
	Asked   int           `json:"asked"`
	Refused string        `json:"refused,omitempty"` // code
}

// lookupServe answers the asker of a plan, session after session, until it is stopped or the plan expires. The table's key lives as long as the process.
func (a *Agent) lookupServe(ctx context.Context, f *pairFlags) error {
	p, approval, err := agreed[*session.Lookup](a, f)
	if err != nil {
		return err
	}
	if p.Place(sandbox.PartyID(f.party)) != 0 {
		return &sandbox.Error{Op: "party lookup serve", Kind: sandbox.Invalid, Object: "--party", Detail: "the plan's first party has the set", Err: errUsage}
	}
	e, err := a.readSet(ctx, f, nil, psi.Receiver)
	if err != nil {
		return err
	}
	v, err := a.vault(f)
	if err != nil {
		return err
	}
	defer v.Close()
	ledger, unlock, err := openLedger(f.ledger, f.ledgerKey, p.Limits())
	if err != nil {
		return err
	}
	defer unlock()
	h, err := lookup.NewHolder(a.Rand, p.Suite, ledger)
	if err != nil {
		return err
	}
	t, err := h.Publish(a.Rand, e.set, p.Size)
	if err != nil {
		return err
	}
	tcp, done, err := reach(f, 0)
	if err != nil {
		return err
	}
	defer done()
	d := t.Digest()
	fmt.Fprintf(a.Out, "%s: serving a table of %d at %s, digest %x\n", p.Run, p.Size, tcp.Addr(), d)
	for {
		n, err := p.Serve(ctx, session.Config{Self: sandbox.PartyID(f.party), Key: v.SigningKey(), Approval: approval, Transport: tcp, Rand: a.Rand, Now: a.Now, Clock: a.Clock}, h, t)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, sandbox.Denied): // the plan or the approval ended
			return err
		case n > 0:
			fmt.Fprintf(a.Out, "%s: %d answers\n", p.Run, n)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, sandbox.Unavailable) {
			fmt.Fprintln(a.Err, "error:", err)
		}
		select { // what fails at once does not fill the log
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// lookupAsk asks for each line of a file that nobody else may read.
func (a *Agent) lookupAsk(ctx context.Context, f *pairFlags) error {
	p, approval, err := agreed[*session.Lookup](a, f)
	if err != nil {
		return err
	}
	if p.Place(sandbox.PartyID(f.party)) != 1 {
		return &sandbox.Error{Op: "party lookup ask", Kind: sandbox.Invalid, Object: "--party", Detail: "the plan's second party asks", Err: errUsage}
	}
	if err := absent(f.out); err != nil {
		return err
	}
	text, err := private(f.elements, 1<<20)
	if err != nil {
		return err
	}
	var elements [][]byte
	for i, line := range bytes.Split(bytes.TrimRight(text, "\r\n"), []byte("\n")) {
		line = bytes.TrimRight(line, "\r")
		if len(line) < 1 || len(line) > psi.MaxElement || i >= maxElements {
			return &sandbox.Error{Op: "party lookup ask", Kind: sandbox.Invalid, Object: fmt.Sprintf("%s line %d", f.elements, i+1), Detail: "an element of 1 to 1024 bytes a line, at most 10,000"}
		}
		elements = append(elements, line)
	}
	v, err := a.vault(f)
	if err != nil {
		return err
	}
	defer v.Close()
	tcp, done, err := reach(f, 1)
	if err != nil {
		return err
	}
	defer done()
	found, err := p.Ask(ctx, session.Config{Self: sandbox.PartyID(f.party), Key: v.SigningKey(), Approval: approval, Transport: tcp, Rand: a.Rand, Now: a.Now, Clock: a.Clock}, elements)
	refused := errors.Is(err, sandbox.Denied)
	if err != nil && !refused {
		return err
	}
	out := LookupOutput{Run: p.Run, Found: found, Asked: len(elements)}
	if refused {
		out.Refused = session.CodeQuota
	}
	b, e := json.Marshal(out)
	if e != nil {
		return e
	}
	if e := create(f.out, append(b, '\n')); e != nil {
		return e
	}
	fmt.Fprintf(a.Out, "%s: %d of %d answered\n", p.Run, len(found), len(elements))
	return err
}
