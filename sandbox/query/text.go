package query

import (
	"fmt"
	"math"
	"strings"
)

// Text prints the explanation for people, one line per input, column, output and rule.
func (e Explanation) Text() string {
	var b strings.Builder
	title := func(t string) string {
		if t == "" {
			return ""
		}
		return " (" + t + ")"
	}
	for _, in := range e.Inputs {
		version := "current version"
		if in.Version > 0 {
			version = fmt.Sprintf("version %d", in.Version)
		}
		opens := strings.Join(in.Opens, ", ")
		if opens == "" {
			opens = "no column"
		}
		if in.Join == "" {
			fmt.Fprintf(&b, "scan 扫描 %s%s, %s: opens %s\n", in.Dataset, title(in.Title), version, opens)
		} else {
			fmt.Fprintf(&b, "join 关联 %s%s, %s, %s: opens %s\n", in.Dataset, title(in.Title), version, in.Join, opens)
		}
	}
	for _, c := range e.Columns {
		personal := ""
		if c.Personal {
			personal = ", personal 个人信息"
		}
		fmt.Fprintf(&b, "  %s%s: grade %d 级%s; used for %s", c.Column, title(c.Title), c.Grade, personal, join(c.Uses))
		if len(c.Funcs) > 0 {
			fmt.Fprintf(&b, " (%s)", join(c.Funcs))
		}
		if len(c.Bins) > 0 {
			fmt.Fprintf(&b, " through %s", join(c.Bins))
		}
		if c.Compares > 0 {
			fmt.Fprintf(&b, ", grouping %d of %d", c.Compares, c.MaxCompares)
		}
		if c.MinSubjects > 0 {
			fmt.Fprintf(&b, "; its owner asks for %d people a cell", c.MinSubjects)
		}
		if c.MaxShare > 0 {
			fmt.Fprintf(&b, "; its owner lets the largest hold %d%% of a cell", c.MaxShare)
		}
		if c.PPercent > 0 {
			fmt.Fprintf(&b, "; its owner does not let the largest be told to %d%%", c.PPercent)
		}
		if c.Prior > 0 {
			fmt.Fprintf(&b, "; its owner takes all to be known to %d%%", c.Prior)
		}
		if c.MaxBits > 0 {
			fmt.Fprintf(&b, "; its owner lets a result tell %d bits", c.MaxBits)
		}
		if len(c.NoFilterOn) > 0 {
			fmt.Fprintf(&b, "; never measured by %s", strings.Join(c.NoFilterOn, ", "))
		}
		b.WriteString("\n")
	}
	for _, o := range e.Outputs {
		unit := ""
		if o.Unit != "" {
			unit = ", " + o.Unit
		}
		off := ""
		if o.Deviation > 0 {
			off = fmt.Sprintf("; standard deviation of the noise 加噪标准差: %.4g", float64(o.Deviation)/math.Pow10(o.Scale+3))
		}
		fmt.Fprintf(&b, "output 输出 %s = %s%s; evidence 证据: %s%s\n", o.Name, o.Func, unit, o.Evidence, off)
	}
	if e.Noise != nil {
		fmt.Fprintf(&b, "noise 加噪 %s: %s", e.Noise.Kind, e.Noise.Rule)
		if e.Noise.Cost != nil {
			fmt.Fprintf(&b, "; %d releases, together at most %s of every dataset, less what was drawn before", e.Noise.Releases, e.Noise.Cost)
		}
		b.WriteString("\n")
	}
	if e.Shown != "" {
		fmt.Fprintf(&b, "shown 展示 %s\n", e.Shown)
	}
	if e.MinSubjects > 0 || e.MaxShare > 0 || e.PPercent > 0 || e.Prior > 0 || e.MaxBits > 0 {
		b.WriteString("owners' thresholds 数源单位门限")
		if e.MinSubjects > 0 {
			fmt.Fprintf(&b, ", at least %d people in every cell", e.MinSubjects)
		}
		if e.MaxShare > 0 {
			fmt.Fprintf(&b, ", at most %d%% of a cell with the largest", e.MaxShare)
		}
		if e.PPercent > 0 {
			fmt.Fprintf(&b, ", the largest not told to %d%%", e.PPercent)
		}
		if e.Prior > 0 {
			fmt.Fprintf(&b, ", all known to %d%% beforehand", e.Prior)
		}
		if e.MaxBits > 0 {
			fmt.Fprintf(&b, ", at most %d bits in the result", e.MaxBits)
		}
		b.WriteString(", beside the district's\n")
	}
	fmt.Fprintf(&b, "strictest grade 最高级别 %d", e.Highest)
	if e.Personal {
		b.WriteString(", with personal information 含个人信息")
	}
	b.WriteString("\n")
	if e.Engine.Engine != "" {
		here := ""
		if !e.Engine.Here {
			here = ", not in this release"
		}
		fmt.Fprintf(&b, "engine 计算方式 %s%s: %s\n", e.Engine.Engine, here, e.Engine.Why)
	}
	for _, s := range e.Stops {
		fmt.Fprintf(&b, "ciphertexts 密态: stopped by %s", s.Operator)
		if s.Column != "" {
			fmt.Fprintf(&b, " of %s", s.Column)
		}
		fmt.Fprintf(&b, ": %s; %s\n", s.Rule, s.Instead)
	}
	b.WriteString(e.Cost.text())
	return b.String()
}

// text prints an estimate; what the catalogue does not declare is left out.
func (c Estimate) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cost 代价 %d columns opened, %d bytes a scanned row", c.Columns, c.RowBytes)
	if c.Rows > 0 {
		fmt.Fprintf(&b, ", %d rows declared", c.Rows)
	} else {
		b.WriteString(", rows not declared")
	}
	if c.BuildRows > 0 {
		fmt.Fprintf(&b, ", %d looked up", c.BuildRows)
	}
	if c.Bytes > 0 {
		fmt.Fprintf(&b, ", %d MiB in all", (c.Bytes+1<<20-1)>>20)
	}
	if c.Cells > 0 {
		fmt.Fprintf(&b, "; at most %d cells", c.Cells)
	} else {
		b.WriteString("; cells as the data have labels")
	}
	fmt.Fprintf(&b, " of %d outputs", c.Outputs)
	if c.Refreshed != "" {
		fmt.Fprintf(&b, "; data renewed %s", c.Refreshed)
	}
	b.WriteString("\n")
	return b.String()
}
