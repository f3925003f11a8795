package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/mpc/he/unit"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/node"
	"github.com/opdomain/opdomain/sandbox/query/sql"
)

// ordering is who contributes to an epoch, from the command line.
type ordering struct {
	units, openers []string
	threshold      int
	set            string
}

func (o *ordering) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&o.units, "units", nil, "identities of the officers that act for the contributing units")
	f.IntVar(&o.threshold, "threshold", 0, "how many of them open the sum; 0: more than half, of joined rows all")
	f.StringSliceVar(&o.openers, "openers", nil, "which of them open it; else the first, of joined rows the holders")
	f.StringVar(&o.set, "set", "", fmt.Sprintf("parameter set, %s or %s, of joined rows %s; else the first that does", he.SumSet, he.StatisticsSet, he.ProductSet))
}

func (o *ordering) order() api.SumOrder {
	out := api.SumOrder{Units: []sandbox.IdentityID{}, Threshold: o.threshold, Set: o.set}
	for _, u := range o.units {
		out.Units = append(out.Units, sandbox.IdentityID(u))
	}
	for _, u := range o.openers {
		out.Openers = append(out.Openers, sandbox.IdentityID(u))
	}
	return out
}

func printSum(w io.Writer, s api.Sum) {
	printQuestion(w, s.Question)
	if s.Epoch == 0 {
		return
	}
	fmt.Fprintf(w, "  epoch %d 轮次, %s, %d of %d units open; plan %x\n", s.Epoch, s.Set, s.Threshold, len(s.Units), s.Plan[:min(8, len(s.Plan))])
	if s.List != nil {
		fmt.Fprintf(w, "  joined over a list 名册 of %d people, SM3 %x\n", s.List.People, s.List.Digest[:min(8, len(s.List.Digest))])
	}
	if s.Step != "" {
		fmt.Fprintf(w, "  waits for each unit's %s 待各单位提交, until %s\n", s.Step, s.Due.Format(time.DateTime))
	}
	for _, u := range s.Units {
		note := ""
		if u.Opens {
			note += ", opens"
		}
		if u.Holds != "" {
			note += ", holds " + string(u.Holds)
		}
		if u.Sent {
			note += ", sent"
		}
		if u.Left {
			note += ", the epoch ended with it 中止"
		}
		fmt.Fprintf(w, "  unit %s by %s%s\n", u.Party, u.Identity, note)
	}
	if s.Aborted {
		fmt.Fprintf(w, "  aborted 已中止; until %s: opdomain he sum again %s, or end\n", s.Until.Format(time.DateTime), s.Question.ID)
	}
	if s.Cause != "" {
		fmt.Fprintf(w, "  cause 原因: %s\n", s.Cause)
	}
}

func (a *app) heSumCommand() *cobra.Command {
	var from asked
	var first, next ordering
	var labels []string
	var terms string
	var rows int
	ask := verb("ask", "Ask a question over the ciphertexts of units that keep their rows (密态汇总)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		keys, err := fixedLabels(labels)
		if err != nil {
			return err
		}
		var list *api.SumList
		if terms != "" || rows != 0 {
			if list, err = parseListTerms(terms, rows); err != nil {
				return err
			}
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		q, err := from.question(c.Context(), a, s)
		if err != nil {
			return err
		}
		got, err := result[api.Sum](s.api.AskSum(c.Context(), api.SumRequest{Spec: q, Keys: sumLabels(keys), Order: first.order(), List: list}))
		if err != nil {
			return err
		}
		if err := a.show(got, func(w io.Writer) { printSum(w, got) }); err != nil {
			return err
		}
		if len(got.Question.Decision.Reasons) > 0 {
			return &refused{got.Question.Decision}
		}
		return nil
	})
	ask.Long = `The question is decided and charged like any other; then the domain plans an epoch over the units' enrolled keys and waits for them. Each unit's
owner approves (opdomain he approve), each unit's program takes part (opdomain he unit). A unit that is silent past a deadline ends the epoch: again plans
the next one, with new keys, without it. What the gate reads goes before reviewers like any answer.

A question over two datasets that different units hold, joined by the person, is asked over a list of people that both owners have (opdomain he list), by its
digest: counts, sums, means, covariances, correlations and their kin of joined rows. Both owners' officers are among the units; two are enough, others mask
and open. Without either of both there is no next epoch. All units open, unless --threshold says fewer: then so many, with the gate, could open each
person's values.`
	f := ask.Flags()
	f.StringVar(&from.spec, "spec", "", "JSON question, - for standard input")
	from.textFlags(ask)
	f.StringArrayVar(&labels, "labels", nil, "AS=LABEL,LABEL…: the groups of a dimension whose column does not list its values; rows of others count nowhere; repeat for more")
	f.StringVar(&terms, "list", "", "SM3:PEOPLE of the list over which two units' rows are joined, as opdomain he list show prints it")
	f.IntVar(&rows, "list-rows", 0, "most rows of one person at a unit: fewer take fewer ciphertexts; 0: 1,024")
	first.flags(ask)
	ask.MarkFlagsOneRequired("spec", "sql", "sql-file")
	ask.MarkFlagsMutuallyExclusive("spec", "sql", "sql-file")
	must(ask.MarkFlagRequired("units"))
	list := verb("list", "List the sums that concern you", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.Sum, error) { return result[[]api.Sum](s.api.ListSums(c.Context())) }, func(w io.Writer, all []api.Sum) {
			for _, x := range all {
				printSum(w, x)
			}
		})
	})
	show := verb("show QUESTION", "Show where a sum stands and who has answered", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.Sum, error) {
			return result[api.Sum](s.api.GetSum(c.Context(), sandbox.QuestionID(args[0])))
		}, printSum)
	})
	again := verb("again QUESTION", "Begin the next epoch after one that was aborted, without --units with who is left (下一轮)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.Sum, error) {
			return result[api.Sum](s.api.BeginSumEpoch(c.Context(), sandbox.QuestionID(args[0]), next.order()))
		}, printSum)
	})
	next.flags(again)
	end := verb("end QUESTION", "Give a sum up: the question is withheld (放弃)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.Sum, error) {
			return result[api.Sum](s.api.EndSum(c.Context(), sandbox.QuestionID(args[0])))
		}, printSum)
	})
	return group("sum", "Questions over the ciphertexts of several units (密态汇总)", ask, list, show, again, end)
}

// sumLabels is how labels of dimensions stand in a request.
func sumLabels(keys spec.Keys) (out []api.SumLabels) {
	for _, as := range slices.Sorted(maps.Keys(keys)) {
		out = append(out, api.SumLabels{As: as, Labels: keys[as]})
	}
	return out
}

// offered is a plan that came from a domain, with what this unit makes of its question.
type offeredSum struct {
	unit.Offer
	question *unit.Compiled
}

// offer fetches the plan of the epoch that goes on and compiles its question by the unit's own descriptions.
func (s *session) offer(ctx context.Context, domain string, id sandbox.QuestionID, cards []catalog.Dataset) (offeredSum, []sandbox.Reason, error) {
	got, err := result[api.SumPlan](s.api.GetSumPlan(ctx, id))
	if err != nil {
		return offeredSum{}, nil, err
	}
	out := offeredSum{Offer: unit.Offer{Domain: domain, Question: id, Spec: got.Spec}}
	for _, k := range got.Keys {
		if out.Keys == nil {
			out.Keys = spec.Keys{}
		}
		out.Keys[k.As] = k.Labels
	}
	if l := got.List; l != nil {
		out.List = &spec.Agreed{Digest: l.Digest, People: l.People, Rows: l.Rows}
	}
	if out.Plan, err = he.DecodePlan(got.Plan); err != nil {
		return offeredSum{}, nil, err
	}
	var why []sandbox.Reason
	out.question, why = out.Compile(cards)
	return out, why, nil
}

func (o offeredSum) print(w io.Writer) {
	p := o.Plan
	fmt.Fprintf(w, "question 查询 %s of domain %s:\n  %s\n", o.Question, o.Domain, strings.ReplaceAll(strings.TrimSpace(sql.Text(o.Spec)), "\n", "\n  "))
	b, _ := p.Check()
	if o.question.Joined != nil {
		o.printJoined(w, b)
	} else {
		fmt.Fprintf(w, "epoch %d 轮次: %d groups, %d measures in %d ciphertexts of %s, %d kB a unit\n", p.Epoch, len(p.Layout.Cells), len(p.Layout.Measures), b.Ciphertexts, p.Set, b.Bytes/1000)
	}
	for i, u := range p.Units {
		opens := ""
		if slices.Contains(p.Openers, i) {
			opens = ", opens"
		}
		fmt.Fprintf(w, "unit 单位 %-20s keys %s%s\n", u.ID, u.Fingerprint(), opens)
	}
	fmt.Fprintf(w, "gate 闸口 %-20s keys %s\n", p.Gate.ID, p.Gate.Fingerprint())
	switch {
	case o.question.Joined == nil:
		fmt.Fprintf(w, "any %d of these units, together with the gate, could open what a single one contributes 任意%d个单位与闸口合谋可解开单一单位的密文\n", p.Threshold, p.Threshold)
	case p.Threshold == len(p.Units):
		fmt.Fprintln(w, "what a holder contributes, person by person, is opened by nobody but all of these units together, itself among them, with the gate 逐人密文须全体单位(含持有方)与闸口方可解开")
	default:
		fmt.Fprintf(w, "any %d of these units, together with the gate, could open what a holder contributes: EACH PERSON'S values 任意%d个单位与闸口合谋可解开逐人数值; with --threshold %d nobody could without the holder\n", p.Threshold, p.Threshold, len(p.Units))
	}
}

// printJoined says what is joined, over whom, and what that tells whom.
func (o offeredSum) printJoined(w io.Writer, b he.Budget) {
	p, x, j := o.Plan, o.Plan.Layout.Products, o.question.Joined
	fmt.Fprintf(w, "epoch %d 轮次: %d groups, %d measures in %d products of two units' columns, with %s, %d kB a unit\n", p.Epoch, len(j.Labels), len(o.Spec.Measures), b.Products, p.Set, b.Bytes/1000)
	for side, h := range x.Holders {
		dataset, columns := j.Columns(side)
		fmt.Fprintf(w, "holder 持有方 %s: %s (%s), whose rows stay there\n", p.Units[h].ID, dataset, strings.Join(slices.DeleteFunc(columns, func(c string) bool { return c == spec.SubjectColumn }), ", "))
	}
	fmt.Fprintf(w, "joined over a list 名册 %s: rows of a person at one unit with those at the other; who is not on it counts nowhere\n", listTerms(*o.List))
	fmt.Fprintln(w, "  both holders, and whoever made the list, know who stands on it; the domain, who asks and other units know its digest and its length 名册内容仅两持有方知晓")
	fmt.Fprintln(w, "  the gate learns how many of it have rows at both, and of each holder, for each column used, how many come to something, how many of those to the same, and the largest that one comes to")
	fmt.Fprintf(w, "  a list that differs from this one in a few people, or this one after the rows of a few changed, would tell of those few: each holder's program takes part in none that differs in up to %d, or in too few for its size\n", unit.MinDiffer)
	fmt.Fprintln(w, "  refused for who stands on a list, that is said, and tells of no row; refused for rows, whatever is the matter with them, the others learn that an epoch ended: the domain and units with whom, who asked not with which holder 因名册退出明示, 因数据退出不明示缘由")
	fmt.Fprintln(w, "  what remains: of a list far from all earlier ones, an epoch that ends so may mean that few of those who differ, or whose rows changed, have rows at one holder")
}

// cards reads descriptions of datasets as a unit keeps them.
func (a *app) cards(paths []string) (out []catalog.Dataset, err error) {
	for _, p := range paths {
		var d catalog.Dataset
		if err := a.readJSON(p, &d); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(x catalog.Dataset) bool { return x.ID == d.ID }) {
			return nil, invalid(p, "a description for each dataset once", "")
		}
		out = append(out, d)
	}
	return out, nil
}

// publicIdentity reads the public description of an identity.
func (a *app) publicIdentity(path string) (id sandbox.Identity, err error) {
	if err := a.readJSON(path, &id); err != nil {
		return id, err
	}
	if err := sandbox.CheckID("identity", string(id.ID)); err != nil {
		return id, err
	}
	return id, sandbox.CheckID("party", string(id.Party))
}

// selfOf is a unit by the officer that acts for it, and the owner who approves.
func selfOf(officer, owner sandbox.Identity) (unit.Self, error) {
	if owner.Party != officer.Party {
		return unit.Self{}, invalid("--owner", "an identity of the unit's own party", "")
	}
	out := unit.Self{Member: he.Member{ID: officer.Party}, Owner: owner.ID}
	var err error
	if out.Member.Verify, err = sm.ParseVerifyKey(officer.SignKey); err == nil {
		if out.Member.Seal, err = sm.ParseEncryptKey(officer.EncryptKey); err == nil {
			out.Approve, err = sm.ParseVerifyKey(owner.SignKey)
		}
	}
	return out, err
}

func (a *app) heApproveCommand() *cobra.Command {
	var cards []string
	var officer, out, list string
	var days, least, threshold, epochs int
	var only bool
	c := verb("approve QUESTION", "Show a sum's plan as the unit compiles it, and approve the unit's part in it as its owner (参与批准)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		own, err := a.cards(cards)
		if err != nil {
			return err
		}
		if days < 1 || days > 366 || epochs < 0 {
			return usageError{invalid("--days", "1 to 366 days, a number of epochs", "")}
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		acts := s.id.Identity
		if officer != "" {
			if acts, err = a.publicIdentity(officer); err != nil {
				return err
			}
		}
		self, err := selfOf(acts, s.id.Identity)
		if err != nil {
			return err
		}
		info, err := s.domain(c.Context())
		if err != nil {
			return err
		}
		o, why, err := s.offer(c.Context(), info.Domain, sandbox.QuestionID(args[0]), own)
		if err != nil {
			return err
		}
		if len(why) == 0 {
			why = unit.Fits(o.Offer, o.question, self)
		}
		if len(why) > 0 {
			return &refused{sandbox.Decision{Reasons: why}}
		}
		holds := o.Side(self.Member.ID) >= 0
		if list != "" {
			own, err := readCohort(list)
			if err != nil {
				return err
			}
			if !holds || !own.Names(o.List) {
				return &sandbox.Error{Op: "he approve", Kind: sandbox.Conflict, Object: list, Detail: "the list that the plan names, of a unit that holds a side", Hint: "compare it with the other owner: opdomain he list show " + list}
			}
			if why := own.Fits(o.question.Joined); len(why) > 0 {
				return &refused{sandbox.Decision{Reasons: why}}
			}
		}
		if holds && list == "" && out != "" {
			return usageError{invalid("--list", "the owner of joined rows has the list, and compares it with the plan's before it approves", "opdomain he list show FILE")}
		}
		now := a.now()
		st, err := unit.Approve(a.rand, s.id.keys.SigningKey(), o.Offer, o.question, self, unit.Terms{Least: least, Threshold: threshold, Epochs: uint64(epochs), Only: only, Issued: now, Expires: now.AddDate(0, 0, days)})
		if err != nil {
			return err
		}
		b, err := json.MarshalIndent(st, "", "  ")
		if err != nil {
			return err
		}
		o.print(a.out)
		if list != "" {
			fmt.Fprintf(a.out, "list 名册 %s is the one of the plan 一致\n", list)
		}
		if out == "" {
			fmt.Fprintln(a.out, "not approved 未批准: shown only; --out FILE writes the approval")
			return nil
		}
		if err := a.writeFile("he approve", out, func(w io.Writer) error { _, err := w.Write(append(b, '\n')); return err }); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "approved 已批准 by %s for %d days: %s\n", s.id.ID, days, out)
		return nil
	})
	c.Long = `The question is compiled anew from the unit's own description of its dataset (opdomain catalog show DATASET --json gives the domain's, to compare and to
keep), and the plan is compared with it. Compare the fingerprints with the other units before you sign: a plan whose other units are made up would open
this unit's rows. Of joined rows it wants the descriptions of both datasets, and of a holder the list itself. The approval holds for this question in this layout, with these units and keys, at least so many of them, opened by at least so many of them.`
	f := c.Flags()
	f.StringArrayVar(&cards, "card", nil, "JSON description of the unit's dataset as the unit has it; repeat for more")
	f.StringVar(&officer, "officer", "", "identity.json of the officer whose keys act for the unit; else the approving identity's")
	f.IntVar(&days, "days", 7, "how long it holds")
	f.IntVar(&least, "least", 0, "fewest units that take part; 0: all of this plan, so that no epoch without one of them is approved")
	f.IntVar(&threshold, "least-openers", 0, "fewest units that open; 0: as many as this plan's threshold, of joined rows all of any epoch where all of this plan do")
	f.IntVar(&epochs, "epochs", 0, fmt.Sprintf("the last epoch; 0: %d", unit.MaxEpochs))
	f.BoolVar(&only, "only", false, "this plan alone: another epoch is approved anew")
	f.StringVar(&list, "list", "", "the list of people over which rows are joined, as the owner has it: it is compared with the plan's")
	f.StringVar(&out, "out", "", "file for the approval; without it the plan is shown only")
	must(c.MarkFlagRequired("card"))
	return c
}

// approvals reads the statements of files and of folders of them. Files that are none are named.
func approvals(paths []string) (out []attest.Statement, err error) {
	read := func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return &sandbox.Error{Op: "he unit", Kind: sandbox.NotFound, Object: path, Detail: "an approval, or a folder of them"}
		}
		var st attest.Statement
		if len(b) > 2*attest.MaxStatement {
			return invalid(path, "a signed approval", "opdomain he approve")
		}
		if _, err := strictly(b, &st); err != nil {
			return invalid(path, "a signed approval", "opdomain he approve")
		}
		out = append(out, st)
		return nil
	}
	for _, p := range paths {
		entries, err := os.ReadDir(p)
		if err != nil {
			if _, serr := os.Stat(p); serr != nil {
				continue // not written yet
			}
			if err := read(p); err != nil {
				return nil, err
			}
			continue
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".json") {
				if err := read(p + string(os.PathSeparator) + e.Name()); err != nil {
					return nil, err
				}
			}
		}
	}
	return out, nil
}

// sumFlags are how long a domain waits for the units of a sum, and for the party of a secret model's run.
func sumFlags(c *cobra.Command, l *node.SumLimits) {
	f := c.Flags()
	f.DurationVar(&l.Begin, "sum-begin", 8*time.Hour, "how long a sum over ciphertexts waits for its units to approve and begin")
	f.DurationVar(&l.Step, "sum-step", 10*time.Minute, "how long each further step of it waits for a unit, before the epoch is aborted; also each step of a secret model's run (he partner) for its party")
	f.DurationVar(&l.Wait, "sum-wait", 72*time.Hour, "how long it waits for another epoch after that, before the question is withheld")
}

// sumEvery is how often deadlines of sums and of secret models' runs are looked at.
const sumEvery = time.Second

// tendSums ends epochs whose units are silent, and runs of secret models whose party is, until ctx ends.
func tendSums(ctx context.Context, n *node.Node) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sleep(ctx, sumEvery) == nil {
			n.TendSums(ctx)
			n.TendJoints(ctx)
		}
	}()
	return done
}
