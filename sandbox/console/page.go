// Package console shows a review as one web page (审核页) that the agency decides from, and takes the decision on it.
//
// Page writes the page: what would leave exactly as it would, the one-page summary in Chinese and English, per cell the people and
// shares behind it, the rules it breaks and the intervals the audit left open, what was suppressed and why, what changed against
// earlier results, the class's checklist, opened votes and acts. A review without evidence, as reviewers on the operator's side see it,
// shows outgoing bytes and rule names only. The page is one HTML file without scripts, links or images: it can be kept and printed.
//
// A Desk serves pages on the machine of one reviewer. A browser cannot sign requests, so the program that holds the reviewer's
// identity does: it fetches reviews by signed requests and signs a vote when the reviewer confirms it on the page. It answers on a
// loopback address only, to the host name it was opened under, to a browser that came with the key printed at its start, and takes a
// decision only from its own pages (same origin and a form token). What is signed is about the digest that the page showed: when
// the review has moved meanwhile, nothing is signed.
//
// Errors name the review and the rule. It stores nothing and logs nothing.
package console

import (
	"embed"
	"encoding/hex"
	"encoding/json"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/model"
)

//go:embed page.html list.html
var files embed.FS

// view is what the page shows.
type view struct {
	Style    template.CSS
	Review   api.Review
	Digest   string
	List     egress.Checklist
	Head     []string
	Rows     []row
	More     int // rows that are not shown here
	Pack     *egress.Pack
	Rules    []rule
	Evidence []evidence
	Form     *form
	Said     string // what became of the last decision

	Run        *egress.ChartEvidence // of class F
	Registered []egress.ChartLabel
}

type row struct {
	Labels, Values []string
	Suppressed     bool
}

type rule struct{ ID, ZH, EN string }

type evidence struct {
	egress.CellEvidence
	Top1, Top2, Words string
}

// form is what a decision is taken by.
type form struct {
	Token   string
	Vote    bool // the review takes votes
	Return  bool
	Lead    bool // it is in conflict, before the agency's lead
	Confirm string
}

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"at":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
	"join":  func(s []string) string { return strings.Join(s, " · ") },
	"plus1": func(n int) int { return n + 1 },
	"hex":   hex.EncodeToString,
	"bits":  func(e *egress.ChartEvidence) string { return decimal(int64(e.MilliBits), 3) },
}).ParseFS(files, "page.html", "list.html"))

//go:embed style.css
var styleText string

func style() template.CSS { return template.CSS(styleText) }

// Page writes a review as one page without any form.
func Page(w io.Writer, r api.Review) error { return page(w, r, nil, "") }

func page(w io.Writer, r api.Review, f *form, said string) error {
	v := view{Style: style(), Review: r, Digest: hex.EncodeToString(r.Digest), Form: f, Said: said}
	if r.Class != "" {
		list, err := egress.ChecklistOf(r.Class)
		if err != nil {
			return err
		}
		v.List = list
	}
	if len(r.Result) > 0 {
		if err := v.payload(r); err != nil {
			return err
		}
	}
	for _, id := range r.Rules {
		zh, en := egress.RuleWords(id)
		v.Rules = append(v.Rules, rule{id, zh, en})
	}
	if len(r.Pack) > 0 {
		v.Pack = new(egress.Pack)
		if err := json.Unmarshal(r.Pack, v.Pack); err != nil {
			return &sandbox.Error{Op: "page", Kind: sandbox.Invalid, Object: string(r.ID), Detail: "the evidence is in another form"}
		}
		v.evidence()
		if r.Class == sandbox.ClassF && len(v.Pack.Evidence) > 0 {
			v.Run = new(egress.ChartEvidence)
			if err := json.Unmarshal(v.Pack.Evidence, v.Run); err != nil {
				return &sandbox.Error{Op: "page", Kind: sandbox.Invalid, Object: string(r.ID), Detail: "the evidence is in another form"}
			}
		}
	}
	return pages.ExecuteTemplate(w, "page.html", v)
}

// payload shows outgoing bytes as people read them, by their class.
func (v *view) payload(r api.Review) error {
	switch r.Class {
	case sandbox.ClassD:
		head, rows, err := model.Table(r.Result)
		if err != nil {
			return err
		}
		v.Head = head
		for _, x := range rows[:min(len(rows), maxShown)] {
			v.Rows = append(v.Rows, row{Values: x})
		}
		v.More = len(rows) - len(v.Rows)
		return nil
	case sandbox.ClassE:
		d, err := egress.DecodeDataset(r.Result)
		if err != nil {
			return err
		}
		head, rows := d.Table()
		v.Head = head
		for _, x := range rows[:min(len(rows), maxShown)] {
			v.Rows = append(v.Rows, row{Values: x})
		}
		v.More = len(rows) - len(v.Rows)
		return nil
	case sandbox.ClassF:
		c, err := egress.DecodeChart(r.Result)
		if err != nil {
			return err
		}
		v.Registered = c.Labels
		head, rows := c.Table()
		v.Head = head
		for _, x := range rows {
			v.Rows = append(v.Rows, row{Values: x})
		}
		return nil
	case sandbox.ClassA, "":
		res, err := egress.DecodeResult(r.Result)
		if err != nil {
			return err
		}
		v.table(res)
		return nil
	}
	return &sandbox.Error{Op: "page", Kind: sandbox.Denied, Object: string(r.ID), Detail: "a class that this page cannot show is not decided from it"}
}

// maxShown bounds the rows of a data set that a page shows: as many as leave by default.
const maxShown = 5000

// table gives the outgoing result as people read it: values in their unit, with their decimals.
func (v *view) table(res egress.Result) {
	v.Head = append(v.Head, res.Dimensions...)
	for _, m := range res.Measures {
		head := m.Name
		if m.Unit != "" {
			head += " (" + m.Unit + ")"
		}
		if res.Of != "" { // scores name what they are made of
			head += " · " + string(res.Of)
		}
		v.Head = append(v.Head, head)
	}
	for _, r := range res.Rows {
		out := row{Labels: r.Labels, Suppressed: r.Suppressed}
		for i := range res.Measures {
			switch {
			case r.Suppressed:
				out.Values = append(out.Values, "—")
			case r.Values[i] == nil:
				out.Values = append(out.Values, r.None[i])
			default:
				out.Values = append(out.Values, decimal(*r.Values[i], res.Measures[i].Scale))
			}
		}
		v.Rows = append(v.Rows, out)
	}
}

// decimal writes n scaled by 10^scale.
func decimal(n int64, scale int) string {
	s := strconv.FormatInt(n, 10)
	if scale <= 0 {
		return s
	}
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	if len(s) <= scale {
		s = strings.Repeat("0", scale-len(s)+1) + s
	}
	return sign + s[:len(s)-scale] + "." + s[len(s)-scale:]
}

func (v *view) evidence() {
	for _, c := range v.Pack.Cells {
		e := evidence{CellEvidence: c, Top1: permille(c.Top1), Top2: permille(c.Top2)}
		var words []string
		for _, id := range c.Rules {
			zh, en := egress.RuleWords(id)
			words = append(words, zh+" "+en)
		}
		e.Words = strings.Join(words, "; ")
		v.Evidence = append(v.Evidence, e)
	}
}

func permille(n int) string { return decimal(int64(n), 1) + "%" }
