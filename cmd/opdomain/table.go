package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// indent writes lines behind a prefix.
type indent struct {
	w      io.Writer
	prefix string
}

func (i indent) Write(b []byte) (int, error) {
	for _, line := range strings.SplitAfter(string(b), "\n") {
		if line == "" {
			continue
		}
		if _, err := io.WriteString(i.w, i.prefix+line); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// printTable prints a released result, at most limit rows (0: all). A suppressed group shows no number.
func printTable(w io.Writer, r egress.Result, limit int) {
	head := append([]string{}, r.Dimensions...)
	for d, unit := range r.LabelUnits {
		if unit != "" {
			head[d] += " (" + unit + ")"
		}
	}
	if r.Of != "" {
		fmt.Fprintf(w, "scores of a secret model, made of the result of %s 依据结果\n", r.Of)
	}
	for _, m := range r.Measures {
		name := m.Name
		if m.Unit != "" {
			name += " (" + m.Unit + ")"
		}
		head = append(head, name)
	}
	table := [][]string{head}
	rows := slices.Clone(r.Rows)
	if r.Shown == nil || r.Shown.Top == nil { // those are in their order
		slices.SortStableFunc(rows, func(a, b egress.ResultRow) int { return slices.CompareFunc(a.Labels, b.Labels, compareLabels) })
	}
	for i, row := range rows {
		if limit > 0 && i == limit {
			break
		}
		line := append([]string{}, row.Labels...)
		for m := range r.Measures {
			if row.Suppressed {
				line = append(line, "隐藏 suppressed")
				for range r.Measures[m+1:] {
					line = append(line, "")
				}
				break
			}
			switch v := row.Values[m]; {
			case v != nil:
				line = append(line, scaled(*v, r.Measures[m].Scale))
			case row.None[m] == egress.NoneRedacted:
				line = append(line, "不出域 redacted")
			default:
				line = append(line, "无 none")
			}
		}
		table = append(table, line)
	}
	width := make([]int, len(head))
	for _, line := range table {
		for i, s := range line {
			width[i] = max(width[i], columns(s))
		}
	}
	for _, line := range table {
		var b strings.Builder
		for i, s := range line {
			b.WriteString(s + strings.Repeat(" ", width[i]-columns(s)+2))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	if limit > 0 && len(r.Rows) > limit {
		fmt.Fprintf(w, "… %d more groups\n", len(r.Rows)-limit)
	}
}

// compareLabels orders labels as people read them: "<18" before "18-40" before "≥60", other texts by their characters.
func compareLabels(a, b string) int {
	x, okA := lowest(a)
	y, okB := lowest(b)
	if okA && okB {
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(a, b))
	}
	return cmp.Compare(a, b)
}

// lowest gives the lower bound of a range label.
func lowest(l string) (float64, bool) {
	below := strings.HasPrefix(l, "<")
	l = strings.TrimPrefix(strings.TrimPrefix(l, "<"), "≥")
	end := 0
	for end < len(l) && (l[end] >= '0' && l[end] <= '9' || end == 0 && l[end] == '-') {
		end++
	}
	n, err := strconv.ParseFloat(l[:end], 64)
	if below {
		n = math.Inf(-1)
	}
	return n, err == nil
}

// columns counts terminal columns: Chinese characters and full-width forms take two.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r >= 0x1100 && r != '…' && r != '≥' && !(r >= 0x2000 && r < 0x2E80) {
			n++
		}
	}
	return n
}

func scaled(v int64, scale int) string {
	if scale == 0 {
		return fmt.Sprint(v)
	}
	sign := ""
	u := uint64(v)
	if v < 0 {
		sign, u = "-", -u
	}
	digits := fmt.Sprintf("%0*d", scale+1, u)
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

func fingerprint(point []byte) string {
	k, err := sm.ParseVerifyKey(point)
	if err != nil {
		return hex.EncodeToString(point)
	}
	return k.Fingerprint()
}
