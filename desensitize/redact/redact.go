// Package redact takes what identifies somebody out of free text (自由文本脱敏): by the rules of sandbox/classify and by words a
// plan adds, each place replaced with the label of its type, such as [身份证号].
//
// Standards: those of the detectors (GB 11643, GB 32100, …). 依据: 龙华区实施方案 十二10 (屏蔽敏感数据); case texts hold no identity
// (福田区实施方案 五(二)2(2)). Recall comes first: a place is taken out on weak evidence unless a Rule asks for more confidence, and
// what is taken out may be longer than what identified somebody.
//
// Rows, order and nulls stay; a text without a find stays as it is, byte for byte. It fails closed: a value that is not UTF-8 is
// replaced whole. Words of the plan are found as written.
//
// Errors are Invalid with the rule, never with a text: for a column of another type and for a bad Rule; TooLarge for a batch that
// does not fit its offsets. A Redactor may be used by several goroutines.
//
// It promises no anonymity: names without a surname of the tables or a word before them stay, as do descriptions that only one
// person fits. Texts leave the domain only after review.
package redact

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// Labels that stand for a whole value and for a word of the plan.
const (
	LabelWhole = "[已屏蔽]"
	LabelWord  = "[敏感词]"
)

// label gives the mark that replaces a find.
func label(k classify.Kind) string {
	switch k {
	case classify.ResidentID, classify.ResidentID15:
		return "[身份证号]"
	case classify.ResidencePermit:
		return "[居住证号]"
	case classify.HKID:
		return "[香港身份证号]"
	case classify.Passport:
		return "[护照号]"
	case classify.TravelPermit:
		return "[通行证号]"
	case classify.USCC, classify.OrganisationCode:
		return "[机构代码]"
	case classify.BankCard:
		return "[银行卡号]"
	case classify.Mobile:
		return "[手机号]"
	case classify.Landline:
		return "[电话号码]"
	case classify.Email:
		return "[邮箱]"
	case classify.Plate:
		return "[车牌号]"
	case classify.VIN:
		return "[车架号]"
	case classify.PersonName:
		return "[姓名]"
	case classify.Address:
		return "[地址]"
	}
	return LabelWhole
}

// Bounds of a Rule.
const (
	MaxWords = 100_000
	MaxWord  = 256 // bytes
)

// Rule (脱敏规则) says what is taken out. The zero value takes out everything the detectors find.
type Rule struct {
	Keep       []classify.Kind // types that stay, such as classify.USCC in texts about enterprises
	Confidence int             // percent a find needs, 0 to 99
	Words      []string        // 敏感词: taken out wherever they stand, at least two characters each
}

// Redactor (自由文本脱敏器) applies one Rule.
type Redactor struct {
	keep       map[classify.Kind]bool
	confidence int
	words      map[string]struct{}
	lengths    map[rune][]int // of words by their first character, longest first
}

// New checks a rule.
func New(r Rule) (*Redactor, error) {
	bad := func(rule string) error {
		return &sandbox.Error{Op: "redact: rule", Kind: sandbox.Invalid, Object: "rule", Detail: rule}
	}
	if r.Confidence < 0 || r.Confidence > 99 {
		return nil, bad("confidence is 0 to 99 percent")
	}
	if len(r.Words) > MaxWords {
		return nil, bad(fmt.Sprintf("at most %d words", MaxWords))
	}
	out := &Redactor{keep: map[classify.Kind]bool{}, confidence: r.Confidence, words: map[string]struct{}{}, lengths: map[rune][]int{}}
	for _, k := range r.Keep {
		if label(k) == LabelWhole {
			return nil, bad(fmt.Sprintf("type %q is not one that is found in texts", k))
		}
		out.keep[k] = true
	}
	for i, w := range r.Words {
		if !utf8.ValidString(w) || utf8.RuneCountInString(w) < 2 || len(w) > MaxWord || strings.TrimSpace(w) != w {
			return nil, bad(fmt.Sprintf("word %d: UTF-8 of two characters to %d bytes, without spaces around it", i+1, MaxWord))
		}
		first, _ := utf8.DecodeRuneInString(w)
		out.words[w] = struct{}{}
		if !slices.Contains(out.lengths[first], len(w)) {
			out.lengths[first] = append(out.lengths[first], len(w))
		}
	}
	for _, l := range out.lengths {
		slices.SortFunc(l, func(a, b int) int { return b - a })
	}
	return out, nil
}

// Type says which type Apply makes of a type, and whether it takes it.
func (x *Redactor) Type(in arrow.DataType) (arrow.DataType, bool) {
	switch in.ID() {
	case arrow.STRING, arrow.LARGE_STRING:
		return in, true
	case arrow.DICTIONARY:
		return in, in.(*arrow.DictionaryType).ValueType.ID() == arrow.STRING
	}
	return nil, false
}

// Apply gives the column with its texts redacted, of the same type, length and nulls. The caller releases it.
func (x *Redactor) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	w := &worker{Redactor: x, scan: classify.NewScanner()}
	switch col := a.(type) {
	case *array.String:
		b := array.NewStringBuilder(mem)
		defer b.Release()
		b.Reserve(col.Len())
		b.ReserveData(len(col.ValueBytes()))
		size := 0
		for i := range col.Len() {
			if col.IsNull(i) {
				b.AppendNull()
				continue
			}
			out := w.text(col.Value(i))
			if size += len(out); size > math.MaxInt32 {
				return nil, &sandbox.Error{Op: "redact: apply", Kind: sandbox.TooLarge, Object: "column", Detail: "labels make the batch longer than its offsets reach", Hint: "smaller batches"}
			}
			b.BinaryBuilder.Append(out)
		}
		return b.NewArray(), nil
	case *array.LargeString:
		b := array.NewLargeStringBuilder(mem)
		defer b.Release()
		b.Reserve(col.Len())
		for i := range col.Len() {
			if col.IsNull(i) {
				b.AppendNull()
				continue
			}
			b.BinaryBuilder.Append(w.text(col.Value(i)))
		}
		return b.NewArray(), nil
	case *array.Dictionary:
		return w.dictionary(mem, col)
	}
	return nil, &sandbox.Error{Op: "redact: apply", Kind: sandbox.Invalid, Object: "column", Detail: "free text is a column of strings or a dictionary of them, not " + a.DataType().Name()}
}

// dictionary redacts each value once. Texts that become equal become one value, so that codes do not tell them apart.
func (w *worker) dictionary(mem memory.Allocator, a *array.Dictionary) (arrow.Array, error) {
	values, ok := a.Dictionary().(*array.String)
	if !ok {
		return nil, &sandbox.Error{Op: "redact: apply", Kind: sandbox.Invalid, Object: "column", Detail: "free text is a column of strings or a dictionary of them"}
	}
	done := make([]string, values.Len())
	known := make([]bool, values.Len())
	b, ok := array.NewDictionaryBuilder(mem, a.DataType().(*arrow.DictionaryType)).(*array.BinaryDictionaryBuilder)
	if !ok {
		return nil, &sandbox.Error{Op: "redact: apply", Kind: sandbox.Internal, Object: "column", Detail: "no builder for this dictionary"}
	}
	defer b.Release()
	b.Reserve(a.Len())
	for i := range a.Len() {
		if a.IsNull(i) {
			b.AppendNull()
			continue
		}
		at := a.GetValueIndex(i)
		if at < 0 || at >= len(done) {
			return nil, &sandbox.Error{Op: "redact: apply", Kind: sandbox.Invalid, Object: "column", Detail: "a dictionary's indices lie in it"}
		}
		if values.IsNull(at) {
			b.AppendNull()
			continue
		}
		if !known[at] {
			done[at], known[at] = string(w.text(values.Value(at))), true
		}
		if err := b.AppendString(done[at]); err != nil {
			return nil, &sandbox.Error{Op: "redact: apply", Kind: sandbox.TooLarge, Object: "column", Detail: "the dictionary does not fit its codes"}
		}
	}
	return b.NewArray(), nil
}

// worker holds the memory of one call of Apply.
type worker struct {
	*Redactor
	scan  *classify.Scanner
	spans []classify.Span
	out   []byte
}

// Text redacts one text.
func (x *Redactor) Text(s string) string {
	return string((&worker{Redactor: x, scan: classify.NewScanner()}).text(s))
}

// text gives the redacted text, valid until the next call.
func (w *worker) text(s string) []byte {
	w.out = w.out[:0]
	if !utf8.ValidString(s) {
		return append(w.out, LabelWhole...)
	}
	w.spans = w.scan.Spans(w.spans[:0], s)
	from := 0
	for _, f := range w.spans {
		if w.keep[f.Kind] || f.Confidence < w.confidence {
			continue
		}
		w.between(s[from:f.Start])
		w.out = append(w.out, label(f.Kind)...)
		from = f.End
	}
	w.between(s[from:])
	return w.out
}

// between copies what lies between two finds, without the words of the plan. A word that a find begins or ends in loses its
// rest only with the find.
func (w *worker) between(s string) {
	if len(w.words) == 0 {
		w.out = append(w.out, s...)
		return
	}
next:
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		for _, n := range w.lengths[r] {
			if i+n <= len(s) {
				if _, ok := w.words[s[i:i+n]]; ok {
					w.out = append(w.out, LabelWord...)
					i += n
					continue next
				}
			}
		}
		w.out = append(w.out, s[i:i+size]...)
		i += size
	}
}
