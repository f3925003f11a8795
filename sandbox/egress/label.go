package egress

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/opdomain/opdomain/sandbox"
)

// Label is the one form in which a label leaves: NFC, one space between words and none around them, nothing that is not seen. What reads the
// same is the same bytes, so that whoever wrote it says nothing beside it.
func Label(s string) string {
	if plainLabel(s) {
		return s
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || unicode.In(r, unicode.Zs):
			return ' '
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
			return -1
		}
		return r
	}, s)
	return norm.NFC.String(strings.Join(strings.Fields(s), " "))
}

func plainLabel(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == ' ' && (i == 0 || i == len(s)-1 || s[i-1] == ' ') {
			return false
		}
	}
	return true
}

// labelled gives an answer with its labels as they leave, cells sorted by them, and the links with it. Where two cells would have the same
// labels it gives nil: neither may leave as the other.
func labelled(a *sandbox.Answer, links []Link) (*sandbox.Answer, []Link) {
	changed := false
	labels := make([][]string, len(a.Cells))
	for i := range a.Cells {
		labels[i] = a.Cells[i].Labels
		for d, l := range a.Cells[i].Labels {
			if x := Label(l); x != l {
				if &labels[i][0] == &a.Cells[i].Labels[0] {
					labels[i] = slices.Clone(labels[i])
				}
				labels[i][d], changed = x, true
			}
		}
	}
	if !changed {
		return a, links
	}
	order := make([]int, len(labels))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int { return cmp.Or(slices.Compare(labels[x], labels[y]), cmp.Compare(x, y)) })
	out, at := *a, make([]int, len(order))
	out.Cells = make([]sandbox.Cell, len(order))
	for to, from := range order {
		if to > 0 && slices.Equal(labels[from], labels[order[to-1]]) {
			return nil, nil
		}
		out.Cells[to], at[from] = a.Cells[from], to
		out.Cells[to].Labels = labels[from]
	}
	moved := slices.Clone(links)
	for k := range moved {
		cells := make([]int, len(moved[k].cells))
		for n, i := range moved[k].cells {
			cells[n] = at[i]
		}
		slices.Sort(cells)
		moved[k].cells = cells
	}
	return &out, moved
}

func alike(question sandbox.QuestionID) error {
	return &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: "two groups whose labels read the same"}
}
