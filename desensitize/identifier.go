package desensitize

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize/mask"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// identifiers are the kinds that single out a person by themselves (直接标识符, GB/T 37964), each with the length of its shortest
// form in characters and the mask made for it, if there is one.
var identifiers = map[classify.Kind]struct {
	shortest int
	mask     string
}{
	classify.ResidentID: {18, "resident-id"}, classify.ResidencePermit: {18, "resident-id"}, classify.ResidentID15: {15, "resident-id"},
	classify.HKID: {8, ""}, classify.Passport: {8, ""}, classify.TravelPermit: {8, ""}, classify.OtherID: {8, ""}, classify.Biometric: {8, ""},
	classify.BankCard: {16, "card"}, classify.Mobile: {11, "mobile"}, classify.Landline: {10, ""}, classify.Email: {6, "email"},
	classify.VIN: {17, ""}, classify.Plate: {7, "plate"}, classify.PersonName: {2, "name"}, classify.LatinName: {3, ""},
}

// Identifies (直接标识符) says whether a kind singles out a person by itself: numbers of documents, cards and telephones, names, mail
// addresses, vehicles.
func Identifies(k classify.Kind) bool {
	_, ok := identifiers[k.Of()]
	return ok
}

// identifier gives the direct identifier that a column holds or contains.
func (c *compiler) identifier(col catalog.Column) (classify.Kind, bool) {
	k := classify.Kind(col.Finding)
	if Identifies(k) {
		return k, true
	}
	if col.Name == c.d.Subject && c.d.SubjectKind == catalog.ResidentID {
		return classify.ResidentID, true
	}
	return "", false
}

// unhidden says why a step does not hide a direct identifier, and the smallest change that would; "" where it does. It lists what
// may be, since an operation for numbers or texts can be told to change next to nothing. On any sensitive column a redaction takes
// out everything that is found.
func (c *compiler) unhidden(s Step, col catalog.Column) (rule, change string) {
	k, found := c.identifier(col)
	if s.Op == "redact-text" && s.Confidence > 0 && s.Confidence <= 99 && (found || c.sensitive(col)) {
		return "redact-text of a sensitive column takes out whatever is found", "take confidence out"
	}
	if !found {
		return "", ""
	}
	of := identifiers[k.Of()]
	change = "give it drop, redact, constant, a token or its mask"
	if of.mask != "" {
		change = "op: " + of.mask
	}
	what := fmt.Sprintf("a column of direct identifiers (%s %s)", k, k.Term())
	switch s.Op {
	case "redact", "constant", "email", "address", "plate", "card", "mobile", "resident-id", "name":
		return "", ""
	case "redact-text":
		if k != k.Of() {
			return "", ""
		}
	case "keep":
		if most := of.shortest / 2; s.First < 0 || s.Last < 0 || s.First+s.Last > most {
			return fmt.Sprintf("of %s at most half the characters stay: %d", what, most), fmt.Sprintf("%s, or first and last of %d together", change, most)
		}
		return "", ""
	case "pattern":
		shown := mask.Shown(s.Patterns)
		for i, p := range shown {
			if 2*p.Shown > p.Length {
				return fmt.Sprintf("of %s at most half the characters stay: pattern %d shows %d of %d", what, i+1, p.Shown, p.Length), fmt.Sprintf("%s, or show at most %d", change, p.Length/2)
			}
		}
		return "", "" // one that cannot be read is refused as such
	default:
		if strings.HasPrefix(s.Op, "token") || s.Op == "shuffle" && col.Name == c.d.Subject { // the latter has a refusal of its own
			return "", ""
		}
	}
	return fmt.Sprintf("operation %s can leave %s as they are", s.Op, what), change
}

// hides gives what stands where the operation left a value as it was. Rounding, date parts, micro-aggregation and what is drawn are
// left alone: that a value is its own class's or draw's does not show in the result, and to hide just those would show it.
func (s Step) hides() string {
	switch s.Op {
	case "round", "bucket", "date", "date-shift", "noise", "micro", "pram", "shuffle", "redact", "constant", "redact-text":
		return ""
	case "generalize":
		return "*"
	}
	return "***"
}

// settle counts as masked only what changed, and hides what a sensitive column's operation left as it was, which it counts as
// failed. It releases out if it gives another array.
func (c column) settle(mem memory.Allocator, in, out arrow.Array, n mask.Count) (arrow.Array, mask.Count, error) {
	same, rows := unchanged(in, out, c.hide != "")
	n.Masked = min(n.Masked, int64(in.Len()-in.NullN()-same))
	if rows == nil {
		return out, n, nil
	}
	hidden := int64(0)
	var b array.Builder
	switch a := out.(type) {
	case *array.String:
		t := array.NewStringBuilder(mem)
		t.Reserve(a.Len())
		t.ReserveData(len(a.ValueBytes()))
		b = t
		for i, at := 0, 0; i < a.Len(); i++ {
			own := at < len(rows) && rows[at] == i
			if own {
				at++
			}
			switch {
			case a.IsNull(i):
				t.AppendNull()
			case own && !marked(a.Value(i)):
				t.Append(c.hide)
				hidden++
			default:
				t.Append(a.Value(i))
			}
		}
	case *array.Int64:
		t := array.NewInt64Builder(mem)
		t.Reserve(a.Len())
		b = t
		for i, at := 0, 0; i < a.Len(); i++ {
			own := at < len(rows) && rows[at] == i
			if own {
				at++
			}
			if own || a.IsNull(i) {
				t.AppendNull()
				continue
			}
			t.Append(a.Value(i))
		}
		hidden = int64(len(rows))
	default:
		return out, n, nil
	}
	defer b.Release()
	defer out.Release()
	n.Failed += hidden
	return b.NewArray(), n, nil
}

// marked says whether a value is of marks alone, so that nothing is left to hide.
func marked(v string) bool {
	for _, r := range v {
		if !strings.ContainsRune(mask.Marks, r) {
			return false
		}
	}
	return true
}

// unchanged counts the values that an operation gave as it got them, and lists their rows, where asked for, but those of empty texts.
func unchanged(in, out arrow.Array, listed bool) (n int, rows []int) {
	switch o := out.(type) {
	case *array.String:
		a, ok := in.(*array.String)
		if !ok {
			return 0, nil
		}
		if a.Len() == 0 {
			return 0, nil
		}
		from, to := a.ValueOffsets(), o.ValueOffsets()
		before, after := a.ValueBytes(), o.ValueBytes()
		for i := range a.Len() {
			x, y := before[from[i]-from[0]:from[i+1]-from[0]], after[to[i]-to[0]:to[i+1]-to[0]]
			if len(x) != len(y) || len(x) > 0 && x[0] != y[0] || !bytes.Equal(x, y) || a.IsNull(i) || o.IsNull(i) {
				continue
			}
			n++
			if listed && len(x) > 0 {
				rows = append(rows, i)
			}
		}
	case *array.Int64:
		if a, ok := in.(*array.Int64); ok {
			for i := range a.Len() {
				if a.IsValid(i) && o.IsValid(i) && a.Value(i) == o.Value(i) {
					if n++; listed {
						rows = append(rows, i)
					}
				}
			}
		}
	case *array.Date32:
		if a, ok := in.(*array.Date32); ok {
			for i := range a.Len() {
				if a.IsValid(i) && o.IsValid(i) && a.Value(i) == o.Value(i) {
					n++
				}
			}
		}
	case *array.Boolean:
		if a, ok := in.(*array.Boolean); ok {
			for i := range a.Len() {
				if a.IsValid(i) && o.IsValid(i) && a.Value(i) == o.Value(i) {
					n++
				}
			}
		}
	}
	return n, rows
}
