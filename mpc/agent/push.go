package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/push"
	"github.com/opdomain/opdomain/sandbox"
)

// card signs the party's own sealing key under the key that plans name.
func (a *Agent) card(_ context.Context, f *flags) error {
	if err := sandbox.CheckID("party", f.party); err != nil {
		return err
	}
	v, err := a.open(f)
	if err != nil {
		return err
	}
	defer v.Close()
	s, err := push.Card(a.Rand, v.SigningKey(), sandbox.PartyID(f.party), v.DecryptKey().Public())
	if err != nil {
		return err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return create(f.out, b)
}

// readCards gives the sealing key of each party of a plan.
func readCards(paths []string, p mpc.Plan) (out [mpc.Parties]*sm.EncryptKey, err error) {
	for _, path := range paths {
		text, err := readFile(path)
		if err != nil {
			return out, err
		}
		i, key, err := push.OpenCard(text, path, p)
		if err == nil && out[i] != nil {
			err = &sandbox.Error{Op: "party push", Kind: sandbox.Denied, Object: path, Detail: push.RuleCard}
		}
		if err != nil {
			return out, err
		}
		out[i] = key
	}
	for i, k := range out {
		if k == nil {
			return out, &sandbox.Error{Op: "party push", Kind: sandbox.Invalid, Object: "--card", Detail: "one of each party: " + string(p.Parties[i].ID) + " is missing", Err: errUsage}
		}
	}
	return out, nil
}

// push splits what the question needs of the own rows, once its ledger allows it, and writes a file for each party.
func (a *Agent) push(ctx context.Context, f *flags) error {
	p, question, q, err := readPlanned(f)
	if err != nil {
		return err
	}
	deny := func(rule, hint string) error {
		return &sandbox.Error{Op: "party push", Kind: sandbox.Denied, Object: string(p.Job), Detail: rule, Hint: hint}
	}
	if !a.Now().Before(p.Expires) {
		return deny("the plan has expired", "ask for a new plan")
	}
	if q.line == nil {
		return deny("the question is no inquiry: rows are pushed for those alone", "")
	}
	want, unit, ok, err := push.Of(q.line, p)
	if err != nil {
		return err
	}
	if !ok {
		return deny("no rows of the question are pushed", "have the setting say of the dataset that it is pushed, with the key of its unit")
	}
	words, err := Words(p, question, "")
	if err != nil {
		return err
	}
	fmt.Fprint(a.Out, words) // before anything is read or signed
	if f.digest != want.Plan {
		return deny("a unit pushes for the plan whose digest it names", "read what is said above, then give --digest "+want.Plan)
	}
	if err := f.hasLedger(); err != nil {
		return err
	}
	seals, err := readCards(f.cards, p)
	if err != nil {
		return err
	}
	v, err := a.open(f)
	if err != nil {
		return err
	}
	defer v.Close()
	if !bytes.Equal(v.SigningKey().Public().Bytes(), unit.Bytes()) {
		return deny("the question names another unit's key for "+string(want.Dataset), "push with the key folder that the owners approved")
	}
	t, err := a.inputs(f, q.line, p)
	if err != nil {
		return err
	}
	defer t.vaults.close()
	rows, names, err := t.read(ctx, 0, want.Rows)
	if err != nil {
		return err
	}
	cols, err := q.line.Encode(rows, want.Rows)
	if err != nil {
		return err
	}
	split, err := push.New(cols, a.Rand)
	if err != nil {
		return err
	}
	set := q.line.Inputs()[0]
	s, err := split.Sign(a.Rand, v.SigningKey(), sandbox.IdentityID(set.Unit), want)
	if err != nil {
		return err
	}
	path := func(x mpc.Party) string { return filepath.Join(f.out, string(set.ID)+"."+string(x.ID)) }
	if err := free(f.out, path, p.Parties); err != nil { // what can be refused is, before the ledger counts
		return err
	}
	// Nobody else ever sees the rows: that two pushes differ in a few people, only their unit can find.
	q.own, q.names = agg.Own{0: rows}, map[int][]string{0: names}
	if err := q.admit(f, p, -1, a.Now()); err != nil {
		return err
	}
	for i, x := range p.Parties {
		b, err := split.For(s, i, seals[i], a.Rand)
		if err != nil {
			return err
		}
		if err := create(path(x), b); err != nil { // whole or not at all
			return err
		}
	}
	fmt.Fprintf(a.Out, "\npushed 已推送: %s: %d rows of %s, padded to %d, %d columns, in %s for each party\nits digest 摘要 %s: each party has the same one, or the run ends\n", p.Job, rows.Len(), set.ID, want.Rows, want.Columns, f.out, push.Digest(s))
	return nil
}

// free says whether a folder is there to take a file of each party's, and none of them is.
func free(dir string, path func(mpc.Party) string, parties []mpc.Party) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return &sandbox.Error{Op: "party push", Kind: sandbox.NotFound, Object: dir, Detail: "a folder that is there"}
	}
	for _, x := range parties {
		if _, err := os.Lstat(path(x)); err == nil {
			return &sandbox.Error{Op: "party push", Kind: sandbox.Conflict, Object: path(x), Detail: "a new file: one is there"}
		}
	}
	return nil
}

// adopt reads the party's shares of a pushed input, where the question has one.
func (a *Agent) adopt(f *flags, q *job, p mpc.Plan, key *sm.DecryptKey) error {
	usage := func(rule string) error {
		return &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: "--pushed", Detail: rule, Err: errUsage}
	}
	var want push.Body
	var unit *sm.VerifyKey
	var pushes bool
	if q.line != nil {
		var err error
		if want, unit, pushes, err = push.Of(q.line, p); err != nil {
			return err
		}
	}
	switch {
	case pushes && f.pushed == "":
		return usage("the shares that the unit of " + string(want.Dataset) + " pushed to this party")
	case !pushes && f.pushed != "":
		return usage("no rows of the question are pushed")
	case !pushes:
		return nil
	}
	party := -1
	for i, x := range p.Parties {
		if string(x.ID) == f.party {
			party = i
		}
	}
	file, err := os.Open(f.pushed)
	if err != nil {
		return &sandbox.Error{Op: "party run", Kind: sandbox.NotFound, Object: f.pushed, Detail: "the file cannot be read"}
	}
	defer file.Close()
	q.pushed, err = push.Read(file, f.pushed, want, unit, party, key)
	return err
}
