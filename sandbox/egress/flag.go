package egress

import (
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/opdomain/opdomain/sandbox"
)

// Flag (复核提示) is what no rule suppresses, since hiding it would say it too, and what a person must look at: a standing template
// does not release it. For reviewers and owners.
type Flag struct {
	Rule   string `json:"rule"`
	Places int    `json:"places"`         // lines, or cells, where it is so
	Worst  int    `json:"worst_permille"` // the largest share
}

// Flag names, as reviewers see them.
const (
	FlagClass   = "class-disclosure" // 类别泄露
	FlagMissing = "missing"          // 缺失值
	FlagFaults  = "map-faults"       // 逐主体算法故障: subjects for whom a Map trapped or yielded what it did not declare; they are in no cell
)

// Faulty adds, where a Map failed for some of the people it saw, that it did.
func (c *Checked) Faulty(faults int) {
	if people := len(c.answer.Population); faults > 0 && people > 0 {
		c.Flags = append(c.Flags, Flag{FlagFaults, faults, int(1000 * int64(faults) / int64(people))})
	}
}

// Shares, in tenths of a percent, from which a person looks. Source: ACRO's class disclosure; of missing values the sources name no number.
const (
	classShare   = 900
	missingShare = 100
)

// flag looks for class disclosure and for missing values among the cells that are published.
func (c *Checked) flag() {
	c.Flags = c.Flags[:0]
	for _, f := range []Flag{c.classes(), c.missing()} {
		if f.Places > 0 {
			c.Flags = append(c.Flags, f)
		}
	}
}

// classes finds lines of a table, cells that agree on all dimensions but one, in which one label holds nearly everybody: who is in the line is
// known to have it. To hide the cell would not help, for the others of its line are not there or few. A dimension that follows from the others in every line,
// as a district does from its street, tells nothing and is passed over. The one line of a table of one dimension is everybody its filters leave, and
// who has passed them may be known.
func (c *Checked) classes() Flag {
	f := Flag{Rule: FlagClass}
	a := c.answer
	for d := range a.Dimensions {
		type line struct {
			people, most, cells, top int
			who                      *roaring.Bitmap
		}
		lines := map[string]*line{}
		var order []*line
		for i := range a.Cells {
			var key strings.Builder
			for k, l := range a.Cells[i].Labels {
				if k != d {
					key.WriteString(l)
				}
				key.WriteByte(0)
			}
			l := lines[key.String()]
			if l == nil {
				l = &line{who: roaring.New()}
				lines[key.String()], order = l, append(order, l)
			}
			n := len(a.Cells[i].Contributors)
			l.who.AddMany(a.Cells[i].Contributors)
			l.cells++
			if n > l.most {
				l.most, l.top = n, i
			}
		}
		several := false
		for _, l := range order {
			several = several || l.cells > 1
		}
		if !several {
			continue
		}
		for _, l := range order {
			l.people = int(l.who.GetCardinality()) // one of two cells is of one person
			if of := share(wide{0, uint64(l.most)}, wide{0, uint64(l.people)}); of >= classShare && !c.hidden[l.top] {
				f.Places++
				f.Worst = max(f.Worst, of)
			}
		}
	}
	return f
}

// missing finds published cells in which many rows have no value for a measure.
func (c *Checked) missing() Flag {
	f := Flag{Rule: FlagMissing}
	for i := range c.answer.Cells {
		cell := &c.answer.Cells[i]
		if c.hidden[i] {
			continue
		}
		worst := 0
		for m := range c.answer.Measures {
			if c.answer.Measures[m].Func == sandbox.Histogram { // what it leaves out is held to frequency
				continue
			}
			if left := cell.Rows - cell.NonMissing[m]; left > 0 {
				worst = max(worst, share(wide{0, uint64(left)}, wide{0, uint64(cell.Rows)}))
			}
		}
		if worst >= missingShare {
			f.Places++
			f.Worst = max(f.Worst, worst)
		}
	}
	return f
}
