package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// maxVerdicts bounds the columns of one statement; more go in several, each taken or not as a whole.
const maxVerdicts = 128

func (a *app) findingsCommand() *cobra.Command {
	var open bool
	c := verb("findings DATASET", "Show for each column what was found, what is in force and who decided it, to its unit, the agency or an auditor (分类分级)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.Classification, error) {
			got, err := result[api.Classification](s.api.GetClassification(c.Context(), sandbox.DatasetID(args[0])))
			if open {
				got.Columns = slices.DeleteFunc(got.Columns, func(x api.ColumnClassification) bool { return !x.Open })
			}
			return got, err
		}, printClassification)
	})
	c.Flags().BoolVar(&open, "open", false, "only columns that wait for a verdict")
	return c
}

func printClassification(w io.Writer, c api.Classification) {
	fmt.Fprintf(w, "%s version %d, rules %s: %d wait for a verdict 待确认\n", c.Dataset, c.Version, c.Rules, c.Open)
	if c.Found < c.Version {
		fmt.Fprintf(w, "  what was found is of version %d\n", c.Found)
	}
	for _, x := range c.Columns {
		state := "declared 申报"
		switch {
		case x.Open:
			state = "open 待确认"
		case x.Verdict != nil:
			state = "confirmed 已确认"
		case x.Proposal != nil:
			state = "found 已识别"
		}
		fmt.Fprintf(w, "  %-16s %s  %s\n", x.Column, levelText(x.Level), state)
		if p := x.Proposal; p != nil {
			fmt.Fprintf(w, "    found 识别    %s %s in %d%% of %d, confidence %d%%: %s\n", p.Finding, p.Term, p.Share, p.Sampled, p.Confidence, levelText(p.Level))
		}
		if v := x.Verdict; v != nil {
			reason := ""
			if v.Reason != "" {
				reason = ": " + v.Reason
			}
			fmt.Fprintf(w, "    verdict 意见  grade %d to %d by %s, %s%s\n", v.Before, v.Level.Grade, v.By, v.At.Format(time.DateTime), reason)
		}
	}
	printAffected(w, c.Affected)
}

func levelText(l api.Level) string {
	s := fmt.Sprintf("grade %d", l.Grade)
	if l.Category != "" {
		s += " " + l.Category
	} else if l.Personal {
		s += " personal"
	}
	if l.Sensitive != "" {
		s += ", sensitive " + l.Sensitive
	}
	if l.National != "" && l.National != string(classify.NationalGeneral) {
		s += ", " + l.National + " data"
	}
	return s
}

func printAffected(w io.Writer, all []api.AffectedGrant) {
	for _, g := range all {
		note := ""
		if g.Stop {
			note = "  stopped 暂停使用"
		}
		fmt.Fprintf(w, "affected 受影响授权 %s of %s%s\n", g.Grant, g.Scenario, note)
		for _, f := range g.Fields {
			was := "not kept"
			if f.Listed > 0 {
				was = strconv.Itoa(int(f.Listed))
			}
			raised := ""
			if f.Raised {
				raised = ", above what was agreed"
			}
			uses := make([]string, len(f.Uses))
			for i, u := range f.Uses {
				uses[i] = string(u)
			}
			fmt.Fprintf(w, "  %s.%s  listed at %s, now %d%s  (%s)\n", f.Dataset, f.Column, was, f.Now, raised, strings.Join(uses, ", "))
		}
	}
}

// verdictFlags are what a person says about one column on the command line.
type verdictFlags struct {
	column, category, national, sensitive, reason, file string
	grade                                               int
	personal, agree                                     bool
}

func (a *app) confirmCommand() *cobra.Command {
	var v verdictFlags
	c := verb("confirm DATASET", "Decide, as an officer of its unit, what columns hold and their grades, in force at once; a lower grade wants a reason (分级确认)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		ways := 0
		for _, given := range []bool{v.column != "", v.file != "", v.agree} {
			if given {
				ways++
			}
		}
		if ways != 1 {
			return usageError{invalid("--column", "one of --column, --file and --agree", "--column names one column; --agree takes every open proposal as it is")}
		}
		var listed []classify.Verdict
		if v.file != "" {
			b, err := a.readFile(v.file)
			if err != nil {
				return err
			}
			if at, err := strictly(b, &listed); err != nil { // the decoder's text may quote the file
				return invalid(v.file, fmt.Sprintf("fault near byte %d: a list of verdicts, JSON objects with the known fields", at), "column, grade, personal, national, category, sensitive, reason")
			}
		}
		return get(a, func(s *session) (api.Classification, error) {
			id := sandbox.DatasetID(args[0])
			now, err := result[api.Classification](s.api.GetClassification(c.Context(), id))
			if err != nil {
				return now, err
			}
			if v.file == "" {
				if listed, err = v.verdicts(c, now); err != nil {
					return now, err
				}
			}
			return a.confirm(c, s, now, listed)
		}, printClassification)
	})
	f := c.Flags()
	f.StringVar(&v.column, "column", "", "the column; what no flag says stays as it is in force")
	f.IntVar(&v.grade, "grade", 0, "1 to 4")
	f.StringVar(&v.category, "category", "", "personal, organisation or general (数据类别)")
	f.BoolVar(&v.personal, "personal", false, "personal information or not; default: as the category says (个人信息)")
	f.StringVar(&v.national, "national", "", "general, important or core (国家数据级别)")
	f.StringVar(&v.sensitive, "sensitive", "", "type of sensitive personal information, e.g. health; none for none (敏感个人信息)")
	f.StringVar(&v.reason, "reason", "", "why; wanted where it is milder than what was found or is in force. The evidence holds a salted digest of it")
	f.StringVar(&v.file, "file", "", "JSON list of verdicts: [{\"column\", \"grade\", \"personal\", \"national\", \"category\", \"sensitive\", \"reason\"}]")
	f.BoolVar(&v.agree, "agree", false, "confirm every column that waits for a verdict as it was proposed")
	return c
}

// verdicts gives what the flags say: about one column, or agreement with every open proposal.
func (v verdictFlags) verdicts(c *cobra.Command, now api.Classification) ([]classify.Verdict, error) {
	if v.agree {
		var out []classify.Verdict
		for _, x := range now.Columns {
			if x.Open {
				out = append(out, asInForce(x))
			}
		}
		if len(out) == 0 {
			return nil, &sandbox.Error{Op: "classification", Kind: sandbox.Conflict, Object: string(now.Dataset), Detail: "no column waits for a verdict", Hint: "opdomain catalog findings " + string(now.Dataset)}
		}
		return out, nil
	}
	i := slices.IndexFunc(now.Columns, func(x api.ColumnClassification) bool { return x.Column == v.column })
	if i < 0 {
		return nil, &sandbox.Error{Op: "classification", Kind: sandbox.NotFound, Object: string(now.Dataset), Detail: "the dataset has no such column", Hint: "opdomain catalog findings " + string(now.Dataset)}
	}
	out := asInForce(now.Columns[i])
	given := c.Flags().Changed
	if given("category") {
		out.Category = classify.Category(v.category)
		out.Personal = out.Category == classify.Personal
	}
	if given("personal") {
		out.Personal = v.personal
		switch {
		case given("category"):
		case v.personal:
			out.Category = classify.Personal
		case out.Category == classify.Personal:
			out.Category = classify.General
		}
	}
	if !out.Personal {
		out.Sensitive = classify.NotSensitive
	}
	if given("grade") {
		out.Grade = sandbox.Grade(v.grade)
	}
	if given("national") {
		out.National = classify.National(v.national)
	}
	if given("sensitive") {
		if out.Sensitive = classify.Sensitive(v.sensitive); v.sensitive == "none" {
			out.Sensitive = classify.NotSensitive
		}
	}
	out.Reason = v.reason
	return []classify.Verdict{out}, nil
}

// asInForce is the verdict that leaves a column as it is.
func asInForce(x api.ColumnClassification) classify.Verdict {
	l := x.Level
	v := classify.Verdict{Column: x.Column, Grade: l.Grade, Personal: l.Personal, National: classify.National(l.National), Category: classify.Category(l.Category), Sensitive: classify.Sensitive(l.Sensitive)}
	if v.National == "" {
		v.National = classify.NationalGeneral
	}
	if v.Personal {
		v.Category = classify.Personal
	} else if v.Category == "" {
		v.Category = classify.General
	}
	return v
}

// confirm signs verdicts on what the domain showed and sends them.
func (a *app) confirm(c *cobra.Command, s *session, now api.Classification, all []classify.Verdict) (out api.Classification, err error) {
	if len(all) == 0 {
		return out, invalid("verdicts", "at least one", "")
	}
	var affected []api.AffectedGrant
	for part := range slices.Chunk(all, maxVerdicts) {
		said := attest.Classification{Dataset: now.Dataset, Version: now.Version, Rules: now.Rules, At: a.now().UTC()}
		var req api.ConfirmationRequest
		for _, v := range part {
			i := slices.IndexFunc(now.Columns, func(x api.ColumnClassification) bool { return x.Column == v.Column })
			if i < 0 {
				return out, &sandbox.Error{Op: "classification", Kind: sandbox.NotFound, Object: string(now.Dataset), Detail: "a verdict is on a column of the dataset", Hint: "opdomain catalog findings " + string(now.Dataset)}
			}
			x := now.Columns[i]
			if v.National == "" {
				v.National = classify.NationalGeneral
			}
			cv := attest.ColumnVerdict{Column: v.Column, Before: x.Level.Grade, Grade: v.Grade, Personal: v.Personal, National: string(v.National), Category: string(v.Category), Sensitive: string(v.Sensitive)}
			if p := x.Proposal; p != nil {
				cv.Finding, cv.Proposed = p.Finding, p.Level.Grade
			}
			if strings.TrimSpace(v.Reason) != "" {
				salt := make([]byte, attest.ReasonSalt)
				if _, err := io.ReadFull(a.rand, salt); err != nil {
					return out, err
				}
				cv.Reason = attest.ReasonCommitment(salt, v.Reason)
				req.Reasons = append(req.Reasons, api.VerdictReason{Column: v.Column, Salt: salt, Reason: v.Reason})
			}
			said.Columns = append(said.Columns, cv)
		}
		if req.Statement, err = s.id.sign(attest.ContextClassification, said); err != nil {
			return out, err
		}
		if out, err = result[api.Classification](s.api.ConfirmClassification(c.Context(), now.Dataset, req)); err != nil {
			return out, err
		}
		affected = append(affected, out.Affected...)
	}
	out.Affected = affected
	return out, nil
}

func (a *app) rulesCommand() *cobra.Command {
	return verb("rules", "Print the grading rules in force: a level for each kind of finding; --json prints what catalog regrade takes (分级规则)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) (api.GradingRules, error) {
			return result[api.GradingRules](s.api.GetGradingRules(c.Context()))
		}, func(w io.Writer, r api.GradingRules) {
			for _, k := range r.Levels {
				fmt.Fprintf(w, "  %-18s %s  %s\n", k.Kind, levelText(k.Level), k.Term)
			}
			fmt.Fprintf(w, "rules %s with detectors %s: %d kinds\n", r.Version, r.Detectors, len(r.Levels))
		})
	})
}

func (a *app) regradeCommand() *cobra.Command {
	var path string
	var preview bool
	c := verb("regrade", "Put other grading rules in force, as the agency, and list the changed fields and the affected grants (重新分级)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		req := api.RegradeRequest{Preview: preview}
		if path != "" {
			req.Rules = new(api.GradingRules)
			if err := a.readJSON(path, req.Rules); err != nil {
				return err
			}
		}
		return get(a, func(s *session) (api.Regrading, error) {
			return result[api.Regrading](s.api.Regrade(c.Context(), req))
		}, printRegrading)
	})
	c.Flags().StringVar(&path, "rules", "", "JSON rules under a new version, edited from catalog rules --json; default: those of the domain's program")
	c.Flags().BoolVar(&preview, "preview", false, "only say what would change")
	return c
}

func printRegrading(w io.Writer, r api.Regrading) {
	switch {
	case r.Preview:
		fmt.Fprintf(w, "%s to %s would change %d fields and affect %d grants; %d verdicts stand 预演\n", r.From, r.To, len(r.Fields), len(r.Affected), r.Kept)
	default:
		fmt.Fprintf(w, "%s to %s by %s, %s: %d fields, %d grants affected, %d verdicts stand\n", r.From, r.To, r.By, r.At.Format(time.DateTime), len(r.Fields), len(r.Affected), r.Kept)
		fmt.Fprintf(w, "  rules 规则 SM3 %s\n", hex.EncodeToString(r.Digest))
	}
	for _, f := range r.Fields {
		note := ""
		if f.New.Grade < f.Before {
			note = ": a lower grade waits for a verdict"
		}
		fmt.Fprintf(w, "  %s.%s %s: %s, was %s; in force %d, was %d%s\n", f.Dataset, f.Column, f.Finding, levelText(f.New), levelText(f.Old), f.After, f.Before, note)
	}
	printAffected(w, r.Affected)
}

func (a *app) regradingsCommand() *cobra.Command {
	return verb("regradings", "List what other rules changed, the newest last; a unit sees its own fields (重新分级记录)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.Regrading, error) {
			return result[[]api.Regrading](s.api.ListRegradings(c.Context()))
		}, func(w io.Writer, all []api.Regrading) {
			for _, r := range all {
				printRegrading(w, r)
			}
			fmt.Fprintf(w, "%d regradings 次重新分级\n", len(all))
		})
	})
}

func (a *app) affectedCommand() *cobra.Command {
	return verb("affected", "List the live grants whose listed columns are of another grade now; those above what was agreed are stopped (受影响授权)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.AffectedGrant, error) {
			return result[[]api.AffectedGrant](s.api.ListAffectedGrants(c.Context()))
		}, func(w io.Writer, all []api.AffectedGrant) {
			printAffected(w, all)
			fmt.Fprintf(w, "%d affected 受影响授权\n", len(all))
		})
	})
}
