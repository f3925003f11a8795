package redteam

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/noise"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/release"
)

// Process gives the attacks on how a result is written, decided and sent, each so many times. Signing and sealing draw from random.
func Process(seed uint64, tries int, random io.Reader) ([]Outcome, error) {
	var out []Outcome
	for _, f := range []func(uint64, int, io.Reader) (Outcome, error){lowBits, suppressBits, averageNoise, timing, swap, selfDifference} {
		o, err := f(seed, tries, random)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// lowBits looks for numbers that leave in more than one form: with places or an exponent, or a zero that is negative.
func lowBits(seed uint64, tries int, _ io.Reader) (Outcome, error) {
	o := Outcome{Attack: "low float bits"}
	for n := range tries {
		w := NewWorld(seed+uint64(n), people)
		for i := range w.people {
			w.people[i].amount = w.rnd.Int64N(1<<50) - 1<<49
		}
		b, err := ThroughGate(w.answer(question{who: w.everybody(), by: []dimension{byArea}, measures: []sandbox.Measure{sum, mean, ratio}}))
		if err != nil {
			return o, err
		}
		o.Tries, o.Twins = o.Tries+1, o.Twins+1
		if b != nil {
			o.Released++
		}
		if !plainNumbers(b) {
			o.Successes++
		}
	}
	return o, nil
}

// suppressBits asks with conditions on what is suppressed: which rows are shown, and in which order, must not follow from numbers that
// are not. In a second world one person of a suppressed cell adds another amount; which cells are hidden beside it may follow from
// it, which is a declared status; all else must not.
func suppressBits(seed uint64, tries int, _ io.Reader) (Outcome, error) {
	o := Outcome{Attack: "suppress bits"}
	for n := range tries {
		w := NewWorld(seed+uint64(n), people)
		a := &Attacker{w: w}
		who := a.small(false)
		target := slices.Index(a.goals[0], true)
		results := make([]egress.Result, 0, 2)
		for range 2 {
			b, err := ThroughGate(w.answer(question{who: who, by: []dimension{byArea, bySex}, measures: all,
				shown: sandbox.Shown{AtLeast: []sandbox.Least{{Measure: "people", Value: int64(w.rnd.IntN(2))}}, Top: &sandbox.Top{Measure: "amount", K: 20}}}))
			if err != nil {
				return o, err
			}
			if b == nil {
				break
			}
			r, err := egress.DecodeResult(b)
			if err != nil {
				return o, err
			}
			r.Shown = nil // the question
			results = append(results, r)
			w.people[target].amount = 1 + w.rnd.Int64N(40_000)
		}
		o.Tries++
		if len(results) < 2 {
			o.Withheld++
			continue
		}
		o.Twins, o.Released = o.Twins+2, o.Released+2
		if !reflect.DeepEqual(statusless(results[0], results[1]), statusless(results[1], results[0])) || len(results[0].Rows) != len(results[1].Rows) {
			o.Successes++
		}
	}
	return o, nil
}

// statusless gives the rows of a result that are published in another as well.
func statusless(r, other egress.Result) (rows []egress.ResultRow) {
	for _, x := range r.Rows {
		for _, y := range other.Rows {
			if slices.Equal(x.Labels, y.Labels) && !x.Suppressed && !y.Suppressed {
				rows = append(rows, x)
			}
		}
	}
	return rows
}

// The parties of a release.
var (
	start    = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	operator = sandbox.Party{ID: "operator", Role: sandbox.Operator}
	asker    = sandbox.Identity{ID: "id-operator", Party: "operator"}
	agency   = sandbox.Party{ID: "agency", Role: sandbox.Agency}
	unit     = sandbox.Party{ID: "unit", Role: sandbox.Unit}
)

// checked is an honest answer that passed the gate.
func checked(w *World, q sandbox.QuestionID) (*egress.Checked, error) {
	return egress.Check(q, w.answer(question{who: w.everybody(), by: []dimension{bySex}, measures: all}), egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10})
}

func nobody(sandbox.IdentityID) bool { return false }

// timing reads how long an answer was computed from when it leaves: answers under one standing template end at any moment of a slot.
func timing(seed uint64, tries int, _ io.Reader) (Outcome, error) {
	o := Outcome{Attack: "timing"}
	r := rand.New(rand.NewPCG(seed, 8))
	spec := sm.Sum([]byte("question"))
	t, err := egress.NewTemplate(attest.StandingTemplate{ID: "t-1", Scenario: "sc", Spec: spec[:], Recipient: asker.ID, Budget: 10_000, Slot: 600, Policy: "policy/1", Expires: start.AddDate(0, 1, 0), At: start},
		sandbox.Identity{ID: "id-agency", Party: agency.ID, Duty: sandbox.Officer}, agency, "policy/1", start)
	if err != nil {
		return o, err
	}
	for n := range tries {
		w := NewWorld(seed+uint64(n), people)
		id := sandbox.QuestionID(fmt.Sprintf("q-%d", n))
		c, err := checked(w, id)
		if err != nil {
			return o, err
		}
		var first time.Time
		for k := range 4 {
			done := start.Add(time.Duration(r.Int64N(int64(600 * time.Second))))
			s := egress.Submit(egress.Submission{Question: id, Class: sandbox.ClassA, Author: asker.ID, Recipient: asker.ID, Role: sandbox.Operator, Policy: "policy/1", Now: done, Expires: start.AddDate(0, 0, 5),
				Template: &t, Asked: egress.TemplateUse{Scenario: "sc", Spec: spec[:]}}, c)
			p := egress.Present{Policy: "policy/1", Revoked: nobody, Template: &t}
			o.Tries++
			// The earliest second at which it leaves.
			leaves := done.Truncate(time.Second)
			for ; leaves.Before(start.Add(time.Hour)); leaves = leaves.Add(time.Second) {
				if _, _, err = s.Release(leaves, p); err == nil {
					break
				}
			}
			if k == 0 {
				first = leaves
			}
			if !leaves.Equal(first) || leaves.Before(done) {
				o.Successes++
			}
			if o.Twins++; err == nil {
				o.Released++
			}
		}
	}
	return o, nil
}

// swap sends what was not reviewed: another result, another recipient's, a replay for another question, bytes changed before the
// second vote, after it, and on the way.
func swap(seed uint64, tries int, random io.Reader) (Outcome, error) {
	o := Outcome{Attack: "file swap"}
	sign, err := sm.NewSigningKey(random)
	if err != nil {
		return o, err
	}
	to, err := sm.NewDecryptKey(random)
	if err != nil {
		return o, err
	}
	sender := release.Sender{Domain: "domain-1", Key: sign, Rand: random}
	for n := range tries {
		one, err := checked(NewWorld(seed+uint64(n), people), "q-1")
		if err != nil {
			return o, err
		}
		other, err := checked(NewWorld(seed+uint64(n)+1, people), "q-1")
		if err != nil {
			return o, err
		}
		vote := func(r egress.Review, p sandbox.Party) (egress.Review, error) {
			v := attest.Vote{Question: r.Question, Class: r.Class, Result: r.Digest, Recipient: r.Recipient, Expires: r.Expires, Policy: r.Policy, Approve: true, At: start}
			return r.Cast(v, egress.Electorate{Voter: sandbox.Identity{ID: sandbox.IdentityID("id-" + p.ID), Party: p.ID, Duty: sandbox.Reviewer}, VoterParty: p, Author: operator, Recipient: operator}, start)
		}
		// send plays a release; each step may be tampered with.
		send := func(before, between, after func(r *egress.Review), b []byte) ([]byte, error) {
			r := egress.Submit(egress.Submission{Question: "q-1", Class: sandbox.ClassA, Author: asker.ID, Recipient: asker.ID, Role: sandbox.Operator, Policy: "policy/1", Now: start, Expires: start.AddDate(0, 0, 5)}, one)
			for k, p := range []sandbox.Party{unit, agency} {
				if k == 0 && before != nil {
					before(&r)
				}
				if k == 1 && between != nil {
					between(&r)
				}
				var err error
				if r, err = vote(r, p); err != nil {
					return nil, err
				}
			}
			if after != nil {
				after(&r)
			}
			_, approval, err := r.Release(start, egress.Present{Policy: "policy/1", Revoked: nobody})
			if err != nil {
				return nil, err
			}
			e, err := sender.Send(approval, "x-1", b, to.Public(), start)
			if err != nil {
				return nil, err
			}
			return e.Open(to, sign.Public(), start)
		}
		b, err := send(nil, nil, nil, one.Result)
		if err != nil {
			return o, err
		}
		if o.Twins++; bytes.Equal(b, one.Result) {
			o.Released++
		}
		bytesOf := func(r *egress.Review) { r.Result = other.Result }
		both := func(r *egress.Review) { r.Result, r.Digest = other.Result, egress.Digest(other.Result) }
		elsewhere := func(r *egress.Review) { r.Recipient = "id-else" }
		renamed := func(r *egress.Review) { r.Question = "q-2" }
		flipped := bytes.Clone(one.Result)
		flipped[len(flipped)/2] ^= 1
		for _, x := range []struct {
			before, between, after func(r *egress.Review)
			b                      []byte
		}{
			{b: other.Result}, {b: flipped}, {b: append(bytes.Clone(one.Result), '\n')},
			{before: bytesOf, b: other.Result}, {between: bytesOf, b: other.Result}, {after: bytesOf, b: other.Result},
			{between: both, b: other.Result}, {after: both, b: other.Result}, {after: elsewhere, b: one.Result}, {between: elsewhere, b: one.Result}, {after: renamed, b: one.Result},
		} {
			o.Tries++
			if _, err := send(x.before, x.between, x.after, x.b); err == nil {
				o.Successes++
			} else {
				o.Withheld++
			}
		}
	}
	return o, nil
}

// selfDifference has whoever supplied rows ask about them together with those of others: it would choose whom it counts, and
// subtract what it knows. The twin is the same question by a party that supplied none.
func selfDifference(uint64, int, io.Reader) (Outcome, error) {
	o := Outcome{Attack: "self-difference"}
	dataset := func(id sandbox.DatasetID, unit sandbox.PartyID) catalog.Dataset {
		return catalog.Dataset{ID: id, Unit: unit, Title: string(id), Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque, Version: 1, Columns: []catalog.Column{
			{Name: "person", Type: catalog.Text, Grade: sandbox.Grade3, Personal: true, JoinKey: true}, {Name: "amount", Type: catalog.Number, Scale: 2, Grade: sandbox.Grade2}}}
	}
	in := map[sandbox.DatasetID]catalog.Dataset{"claims": dataset("claims", "unit"), "own": dataset("own", "source")}
	var list []sandbox.ListItem
	for id := range in {
		list = append(list, sandbox.ListItem{Dataset: id, Columns: []sandbox.ColumnRule{{Column: "person", Uses: []sandbox.Use{sandbox.UseJoin}}, {Column: "amount", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Sum}}}})
	}
	ask := func(p sandbox.Party, first, second sandbox.DatasetID) []sandbox.Reason {
		s := query.Spec{Scenario: "sc", Purpose: "p", Inputs: []query.Input{{Alias: "a", Dataset: first}}, Measures: []query.Measure{{As: "n", Func: sandbox.Subjects}, {As: "x", Func: sandbox.Sum, Column: "a.amount"}}}
		if second != "" {
			s.Inputs = append(s.Inputs, query.Input{Alias: "b", Dataset: second, With: "a"})
		}
		_, reasons := query.DeriveFor(p, s, in, list)
		return reasons
	}
	for _, x := range [][2]sandbox.DatasetID{{"claims", "own"}, {"own", "claims"}, {"own", ""}} {
		for _, p := range []sandbox.Party{{ID: "source", Role: sandbox.Unit}, {ID: "op", Role: sandbox.Operator, Affiliates: []sandbox.PartyID{"source"}}} {
			o.Tries++
			if r := ask(p, x[0], x[1]); slices.ContainsFunc(r, func(r sandbox.Reason) bool { return r.Code == "dataset.own" }) {
				o.Withheld++
			} else {
				o.Successes++
			}
		}
		if o.Twins++; len(ask(operator, x[0], x[1])) == 0 {
			o.Released++
		}
	}
	return o, nil
}

// Declared gives what a result declares (申报信息量): per row two statuses; per value as many levels as the population and the most that a
// person may add allow; three outcomes in all: whole, in part, withheld.
func Declared(r egress.Result, population int, mostRows, mostAmount uint64) scan.Declared {
	d := scan.Declared{Times: 1, Statuses: 3}
	for _, row := range r.Rows {
		d.Levels = append(d.Levels, 2)
		for m, v := range row.Values {
			if v == nil {
				continue
			}
			n := uint64(population)
			switch r.Measures[m].Func {
			case sandbox.Subjects:
			case sandbox.Count:
				n *= mostRows
			default:
				n *= mostAmount
			}
			d.Levels = append(d.Levels, n+1)
		}
	}
	return d
}

// All plays every attack against the gate, each so many times.
func All(seed uint64, tries int, random io.Reader) ([]Outcome, error) {
	combined, err := Linear(seed, tries, false)
	if err != nil {
		return nil, err
	}
	hidden, err := Channels(seed, tries, ThroughGate)
	if err != nil {
		return nil, err
	}
	process, err := Process(seed, tries, random)
	return slices.Concat(combined, hidden, process), err
}

// averageNoise asks for one table of perturbed counts in many forms, so as to average the noise away: dimensions in another order, measures
// by themselves, repeated, groups left out. A group that comes back with two values has won.
func averageNoise(seed uint64, tries int, random io.Reader) (Outcome, error) {
	o := Outcome{Attack: "averaging of noise"}
	table, err := noise.NewTable(4, 8)
	if err != nil {
		return o, err
	}
	key := make([]byte, sm.KeySize)
	if _, err := io.ReadFull(random, key); err != nil {
		return o, err
	}
	keys, err := noise.NewCellKeys(key, table)
	if err != nil {
		return o, err
	}
	moved := 0
	for n := range tries {
		w := NewWorld(seed+uint64(n), people)
		o.Tries++
		seen := map[string]int64{} // by group and measure
		won := false
		for k := range 24 {
			q := question{who: w.everybody(), by: []dimension{byArea, bySex}, measures: [][]sandbox.Measure{{subjects, count}, {count}, {subjects}, {count, subjects}}[k%4]}
			if k%3 == 1 {
				q.by = []dimension{bySex, byArea}
			}
			if k%5 == 4 {
				q.who = w.where(func(p person) bool { return p.area != k%areas })
			}
			a := w.answer(q)
			if k%2 == 1 { // the same people, seen in another order
				channels[0].write(w.rnd, a)
			}
			c, err := egress.Check("q-1", a, egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10})
			if err != nil {
				return o, err
			}
			if err := c.Perturb("q-1", keys); err != nil {
				return o, err
			}
			r, err := egress.DecodeResult(c.Result)
			if err != nil {
				return o, err
			}
			o.Twins, o.Released = o.Twins+1, o.Released+1
			exact := map[string]sandbox.Cell{}
			for _, x := range a.Cells {
				exact[fmt.Sprint(x.Labels)] = x
			}
			for _, row := range r.Rows {
				labels := slices.Sorted(slices.Values(row.Labels))
				for m, v := range row.Values {
					at := fmt.Sprint(labels, r.Measures[m].Name)
					if was, ok := seen[at]; ok && was != *v {
						won = true
					}
					seen[at] = *v
					if *v != exact[fmt.Sprint(row.Labels)].Values[m] {
						moved++
					}
				}
			}
		}
		if won {
			o.Successes++
		}
	}
	if moved == 0 {
		return o, fmt.Errorf("red team: no count was moved")
	}
	return o, nil
}
