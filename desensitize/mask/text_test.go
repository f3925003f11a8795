package mask

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

func made(t interface{ Fatal(...any) }, op *Text, err error) *Text {
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// operation is a text operation beside its oracle.
type operation struct {
	name   string
	op     *Text
	oracle func(string) (string, byte)
	twice  bool // masking what was masked changes nothing; elsewhere marks do not fit, and all is hidden
}

func operations(t interface{ Fatal(...any) }) []operation {
	s, wide := Style{Mark: '*'}, Style{Mark: '●'}
	short := Style{Mark: '*', Width: 3}
	m := func(op *Text, err error) *Text { return made(t, op, err) }
	const pattern = "D{3}d{4}D{4}"
	return []operation{
		{"keep 6+4", m(Keep(6, 4, Style{})), plain(s, oracleKeep(6, 4, s)), true},
		{"keep 1+1", m(Keep(1, 1, Style{})), plain(s, oracleKeep(1, 1, s)), true},
		{"keep 0+2 wide", m(Keep(0, 2, wide)), plain(wide, oracleKeep(0, 2, wide)), true},
		{"keep 1+0 of one width", m(Keep(1, 0, short)), plain(short, oracleKeep(1, 0, short)), false},
		{"keep nothing", m(Keep(0, 0, s)), plain(s, oracleKeep(0, 0, s)), true},
		{"truncate 3", m(Truncate(3)), plain(s, func(v string) (string, bool) { r := []rune(v); return string(r[:min(3, len(r))]), true }), false},
		{"pattern", m(Pattern([]string{pattern, `\D-a{2}H`}, s)), plain(s, either(groups(`([0-9]{3})([0-9]{4})([0-9]{4})`, s), groups(`(D-)([0-9A-Za-z]{2})(\p{Han})`, s))), false},
		{"email", m(Email(1, false, s)), plain(s, groups(`([0-9A-Za-z_%+-])([0-9A-Za-z_%+.-]{0,62}[0-9A-Za-z_%+-])(@(?:[0-9A-Za-z](?:[0-9A-Za-z-]*[0-9A-Za-z])?\.)+[A-Za-z]{2,})`, s)), false},
		{"card", m(Card(s)), plain(s, oracleDigits(s, 6, 4, cardPrefix)), false},
		{"mobile", m(Mobile(s)), plain(s, oracleDigits(s, 3, 4, mobilePrefix)), false},
		{"resident id", m(ResidentID(s)), plain(s, oracleResident(s)), false},
		{"plate", m(Plate(s)), plain(s, groups(`([京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][·• -]?)((?:[0-9A-HJ-NP-Z]{3}(?:[0-9A-HJ-NP-Z])?))((?:[0-9A-HJ-NP-Z]{2}))`, s)), false},
	}
}

// either tries oracles in turn.
func either(all ...func(string) (string, bool)) func(string) (string, bool) {
	return func(v string) (string, bool) {
		for _, f := range all {
			if out, ok := f(v); ok {
				return out, ok
			}
		}
		return "", false
	}
}

// value draws texts around what the operations look for.
var value = rapid.Custom(func(t *rapid.T) string {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return rapid.String().Draw(t, "any")
	case 1:
		return string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
	case 2:
		return rapid.StringMatching(`(\+86|0086|86)?[ -]?1[2-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}`).Draw(t, "mobile")
	case 3:
		d := rapid.StringMatching(`62[0-9]{13,17}`).Draw(t, "card")
		for c := '0'; c <= '9'; c++ {
			if x := d[:len(d)-1] + string(c); luhn(x) && rapid.Bool().Draw(t, "right") {
				d = x
			}
		}
		return d
	case 4:
		d := rapid.StringMatching(`440305(19|20)[0-9]{9}`).Draw(t, "id")
		sum := 0
		for i, w := range []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
			sum += w * int(d[i]-'0')
		}
		return d + string("10X98765432"[(sum+rapid.IntRange(0, 1).Draw(t, "off"))%11])
	case 5:
		return rapid.StringMatching(`[a-z.]{1,5}@[a-z0-9-]{1,4}\.[a-z.]{1,4}`).Draw(t, "mail")
	case 6:
		return rapid.StringMatching(`[粤京港][A-Z][· -]?[0-9A-Z]{4,7}`).Draw(t, "plate")
	case 7:
		return rapid.StringMatching(`[a-e\x{300}-\x{303}é가각힣\x{1100}-\x{1112}\x{1161}-\x{1170}]{1,8}`).Draw(t, "combining")
	case 8:
		return rapid.StringMatching(`D-[0-9a-z]{2}[一-龥]`).Draw(t, "pattern")
	}
	return rapid.StringMatching(`[ -~]{0,20}`).Draw(t, "ascii")
})

// column draws an array of texts with nulls; null slots cover bytes, and the array may be a slice.
func column(t *rapid.T, mem memory.Allocator, values *rapid.Generator[string]) *array.String {
	texts := rapid.SliceOfN(values, 0, 40).Draw(t, "texts")
	if rapid.IntRange(0, 3).Draw(t, "same") == 0 && len(texts) > 0 {
		for i := range texts {
			texts[i] = texts[0] // one width
		}
	}
	nulls := rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "nulls")
	offsets, data, valid := []int32{0}, []byte(nil), make([]byte, len(texts)/8+1)
	n := 0
	for i, v := range texts {
		data = append(data, v...)
		offsets = append(offsets, int32(len(data)))
		if nulls > 0 && rapid.IntRange(0, 3).Draw(t, "null") < nulls {
			n++
		} else {
			valid[i/8] |= 1 << (i % 8)
		}
	}
	d := array.NewData(arrow.BinaryTypes.String, len(texts), []*memory.Buffer{memory.NewBufferBytes(valid), memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offsets)), memory.NewBufferBytes(data)}, nil, n, 0)
	defer d.Release()
	whole := array.NewStringData(d)
	from := rapid.IntRange(0, len(texts)).Draw(t, "from")
	to := rapid.IntRange(from, len(texts)).Draw(t, "to")
	if rapid.Bool().Draw(t, "whole") {
		from, to = 0, len(texts)
	}
	defer whole.Release()
	return array.NewSlice(whole, int64(from), int64(to)).(*array.String)
}

// TestTextLaws holds every operation to its oracle, to the places of nulls and to memory.
func TestTextLaws(t *testing.T) {
	for _, o := range operations(t) {
		t.Run(o.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
				values := value
				if rapid.Bool().Draw(t, "ascii only") {
					values = rapid.StringMatching(`[0-9]{11}|[0-9]{17}X|[ -~]{0,12}`)
				}
				in := column(t, memory.NewGoAllocator(), values)
				defer in.Release()
				out, count, err := o.op.Run(mem, in)
				if err != nil {
					t.Fatal(err)
				}
				checkText(t, o, in, out.(*array.String), count)
				if o.twice {
					again, _, err := o.op.Run(mem, out)
					if err != nil || !array.Equal(out, again) {
						t.Fatalf("masked twice differs: %v", err)
					}
					again.Release()
				}
				out.Release()
				if n := mem.CurrentAlloc(); n != 0 {
					t.Fatalf("%d bytes were not released", n)
				}
			})
		})
	}
}

func checkText(t interface {
	Fatalf(string, ...any)
}, o operation, in, out *array.String, count Count) {
	if out.Len() != in.Len() || out.NullN() != in.NullN() {
		t.Fatalf("%d rows, %d nulls; were %d and %d", out.Len(), out.NullN(), in.Len(), in.NullN())
	}
	var want Count
	size, alike := 0, int64(0) // alike: values that read as their own mask, which a whole column's pass counts as masked
	for i := range in.Len() {
		if in.IsNull(i) != out.IsNull(i) {
			t.Fatalf("row %d: null moved", i)
		}
		if in.IsNull(i) {
			for _, c := range []byte(out.Value(i)) {
				if c != '*' {
					t.Fatalf("row %d: a null slot covers bytes", i)
				}
			}
			size += len(out.Value(i))
			continue
		}
		text, what := o.oracle(in.Value(i))
		size += len(text)
		if out.Value(i) != text {
			t.Fatalf("row %d of %d: differs from the oracle (fate %d)", i, in.Len(), what)
		}
		if !utf8.ValidString(out.Value(i)) || !norm.NFC.IsNormalString(out.Value(i)) {
			t.Fatalf("row %d: not UTF-8 in NFC", i)
		}
		switch what {
		case masked:
			want.Masked++
		case failed:
			want.Failed++
		default:
			alike++
		}
	}
	if count.Failed != want.Failed || count.Masked < want.Masked || count.Masked > want.Masked+alike {
		t.Fatalf("counted %+v, the oracle %+v", count, want)
	}
	if in.Len() > 0 && len(out.Data().Buffers()[2].Bytes()) != size {
		t.Fatalf("%d bytes of data for %d of values", len(out.Data().Buffers()[2].Bytes()), size)
	}
}

// TestDictionaries: the same as the plain column, equal values once, none unused, nothing of the old values anywhere.
func TestDictionaries(t *testing.T) {
	ops := operations(t)
	rapid.Check(t, func(t *rapid.T) {
		o := rapid.SampledFrom(ops).Draw(t, "operation")
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		values := column(t, memory.NewGoAllocator(), value)
		defer values.Release()
		kind := rapid.SampledFrom([]arrow.DataType{arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Uint16}).Draw(t, "index")
		ib := array.NewBuilder(memory.NewGoAllocator(), kind)
		put := putter(ib)
		n := 0
		if values.Len() > 0 {
			n = rapid.IntRange(0, 30).Draw(t, "rows")
		}
		ib.Reserve(n)
		for range n {
			if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
				ib.AppendNull()
			} else {
				put(rapid.IntRange(0, values.Len()-1).Draw(t, "at"))
			}
		}
		whole := array.NewDictionaryArray(&arrow.DictionaryType{IndexType: kind, ValueType: arrow.BinaryTypes.String}, ib.NewArray(), values)
		in := array.NewSlice(whole, int64(n/3), int64(n)).(*array.Dictionary)
		got, count, err := o.op.Run(mem, in)
		if err != nil {
			t.Fatal(err)
		}
		out := got.(*array.Dictionary)
		dict := out.Dictionary().(*array.String)
		used := make([]bool, dict.Len())
		var want Count
		next := 0
		for i := range in.Len() {
			null := in.IsNull(i) || values.IsNull(in.GetValueIndex(i))
			if out.IsNull(i) != null {
				t.Fatalf("row %d: null %v", i, out.IsNull(i))
			}
			if null {
				continue
			}
			text, what := o.oracle(values.Value(in.GetValueIndex(i)))
			at := out.GetValueIndex(i)
			if dict.Value(at) != text {
				t.Fatalf("row %d differs from the oracle", i)
			}
			if at > next {
				t.Fatalf("row %d: entries are not in the order of their use", i)
			}
			if at == next {
				next++
			}
			used[at] = true
			switch what {
			case masked:
				want.Masked++
			case failed:
				want.Failed++
			}
		}
		seen := map[string]bool{}
		for i, u := range used {
			if !u || seen[dict.Value(i)] {
				t.Fatalf("entry %d: unused or repeated", i)
			}
			seen[dict.Value(i)] = true
		}
		if count != want {
			t.Fatalf("counted %+v, want %+v", count, want)
		}
		out.Release()
		if n := mem.CurrentAlloc(); n != 0 {
			t.Fatalf("%d bytes were not released", n)
		}
	})
}

// TestValues is the list of exact masks that people check: see testdata/values.txt.
func TestValues(t *testing.T) {
	s := Style{}
	wide := Style{Width: 3}
	m := func(op *Text, err error) *Text { return made(t, op, err) }
	ops := map[string]*Text{
		"keep-6-4": m(Keep(6, 4, s)), "keep-1-1": m(Keep(1, 1, s)), "email": m(Email(1, false, s)), "email-domain": m(Email(1, true, wide)),
		"address": m(Address(s)), "address-short": m(Address(wide)), "surname": m(Name(Surname, s)), "last": m(Name(Last, s)),
		"plate": m(Plate(s)), "card": m(Card(s)), "card-short": m(Card(wide)), "mobile": m(Mobile(s)), "resident-id": m(ResidentID(s)), "truncate-2": m(Truncate(2)),
	}
	lines := strings.Split(strings.TrimSpace(values), "\n")
	if len(lines) < 60 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		f := strings.Split(line, "|")
		if len(f) != 3 || ops[f[0]] == nil {
			t.Fatalf("line %q", line)
		}
		b := array.NewStringBuilder(memory.NewGoAllocator())
		b.Append(f[1])
		out, err := ops[f[0]].Apply(memory.NewGoAllocator(), b.NewArray())
		if err != nil {
			t.Fatal(err)
		}
		if got := out.(*array.String).Value(0); got != f[2] {
			t.Errorf("%s: %s becomes %s, want %s", f[0], f[1], got, f[2])
		}
	}
}

// TestLongColumns crosses blocks, and blocks of several widths, on the fast path.
func TestLongColumns(t *testing.T) {
	for _, width := range []int{0, 1, 9, 10, 11, 14, 17, 18, 19, 24, 25, 26, 27, 40} {
		for _, mixed := range []bool{false, true} {
			o := operation{"keep 6+4", made(t, Must(Keep(6, 4, Style{})), nil), plain(Style{Mark: '*'}, oracleKeep(6, 4, Style{Mark: '*'})), true}
			b := array.NewStringBuilder(memory.NewGoAllocator())
			for i := range 3*block + 5 {
				v := strings.Repeat(fmt.Sprint(i%10), width)
				if mixed && i == block+3 {
					v += "x"
				}
				b.Append(v)
			}
			in := b.NewStringArray()
			for _, from := range []int64{0, 1, 7, block} {
				s := array.NewSlice(in, from, int64(in.Len())-2).(*array.String)
				out, count, err := o.op.Run(memory.NewGoAllocator(), s)
				if err != nil {
					t.Fatal(err)
				}
				checkText(t, o, s, out.(*array.String), count)
			}
		}
	}
}

// Must gives an operation or panics.
func Must(op *Text, err error) *Text {
	if err != nil {
		panic(err)
	}
	return op
}

func TestSharedOffsets(t *testing.T) {
	b := array.NewStringBuilder(memory.NewGoAllocator())
	b.AppendValues([]string{"440305199001011234", "440305199001011235"}, nil)
	in := b.NewStringArray()
	out, err := Must(Keep(6, 4, Style{})).Apply(memory.NewGoAllocator(), in)
	if err != nil {
		t.Fatal(err)
	}
	if out.Data().Buffers()[1] != in.Data().Buffers()[1] {
		t.Error("offsets were copied")
	}
	if bytes.Contains(out.Data().Buffers()[2].Buf(), []byte("19900101")) {
		t.Error("the hidden part is in the buffer")
	}
	if in.Value(0) != "440305199001011234" {
		t.Error("the input was changed")
	}
}

func TestRefusedOptions(t *testing.T) {
	for what, f := range map[string]func() error{
		"keep below 0":        func() error { _, err := Keep(-1, 0, Style{}); return err },
		"keep too much":       func() error { _, err := Keep(maxKept+1, 0, Style{}); return err },
		"mark":                func() error { _, err := Keep(1, 1, Style{Mark: 'x'}); return err },
		"width":               func() error { _, err := Keep(1, 1, Style{Width: 65}); return err },
		"no pattern":          func() error { _, err := Pattern(nil, Style{}); return err },
		"pattern shows all":   func() error { _, err := Pattern([]string{"DDD"}, Style{}); return err },
		"pattern unclosed":    func() error { _, err := Pattern([]string{"d{3"}, Style{}); return err },
		"pattern no sign":     func() error { _, err := Pattern([]string{"{3}d"}, Style{}); return err },
		"pattern backslash":   func() error { _, err := Pattern([]string{`d\`}, Style{}); return err },
		"pattern long":        func() error { _, err := Pattern([]string{"d{200}d{200}"}, Style{}); return err },
		"pattern bytes":       func() error { _, err := Pattern([]string{"d\xff"}, Style{}); return err },
		"email":               func() error { _, err := Email(9, false, Style{}); return err },
		"name":                func() error { _, err := Name("first", Style{}); return err },
		"truncate to nothing": func() error { _, err := Truncate(0); return err },
		"constant":            func() error { _, err := ConstantText("e\u0301"); return err },
		"round to one":        func() error { _, err := Round(1, false); return err },
		"date":                func() error { _, err := TruncateDate("day"); return err },
		"no edges":            func() error { _, err := Bucket(nil, 0); return err },
		"edges fall":          func() error { _, err := Bucket([]int64{2, 1}, 0); return err },
		"edges repeat":        func() error { _, err := Bucket([]int64{2, 2}, 0); return err },
	} {
		if f() == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("D{3}d{4}D{4}", "13800138000")
	f.Add(`\{x}h`, "{字字")
	f.Add("d{256}", "")
	f.Fuzz(func(t *testing.T, pattern, v string) {
		op, err := Pattern([]string{pattern}, Style{Width: 2})
		if err != nil {
			return
		}
		b := array.NewStringBuilder(memory.NewGoAllocator())
		b.Append(v)
		out, count, err := op.Run(memory.NewGoAllocator(), b.NewArray())
		if err != nil || !utf8.ValidString(out.(*array.String).Value(0)) || v != "" && count.Masked+count.Failed == 0 && !strings.ContainsAny(v, Marks) {
			t.Fatalf("%v %v", err, count)
		}
	})
}

// FuzzText gives every shape any bytes: no panic, UTF-8 out, and all marks when it failed.
func FuzzText(f *testing.F) {
	for _, line := range strings.Split(strings.TrimSpace(values), "\n") {
		f.Add([]byte(strings.Split(line, "|")[1]), uint8(len(line)))
	}
	f.Add([]byte("\xff\xfe欧阳"), uint8(0))
	f.Fuzz(func(t *testing.T, v []byte, width uint8) {
		s := Style{Width: int(width % 5)}
		for _, op := range []*Text{Must(Keep(1, 1, s)), Must(Email(1, true, s)), Must(Address(s)), Must(Name(Surname, s)), Must(Name(Last, s)), Must(Plate(s)),
			Must(Card(s)), Must(Mobile(s)), Must(ResidentID(s)), Must(Truncate(2))} {
			b := array.NewStringBuilder(memory.NewGoAllocator())
			b.Append(string(v))
			b.Append("x")
			out, count, err := op.Run(memory.NewGoAllocator(), b.NewArray())
			if err != nil {
				t.Fatal(err)
			}
			got := out.(*array.String).Value(0)
			if !utf8.ValidString(got) || !norm.NFC.IsNormalString(got) {
				t.Fatalf("%s: not UTF-8 in NFC", op.name)
			}
			if count.Failed == 2 && strings.Trim(got, "*") != "" {
				t.Fatalf("%s: failed and not hidden", op.name)
			}
		}
	})
}

// TestWidthsThatCancelOut: four values of several widths whose ends agree when they are combined without care are not of one width.
func TestWidthsThatCancelOut(t *testing.T) {
	for _, widths := range [][]int{{9, 11, 11, 1}, {18, 17, 19, 18}, {12, 12, 11, 13}} {
		ends := []int32{0}
		for _, w := range widths {
			ends = append(ends, ends[len(ends)-1]+int32(w))
		}
		if fixed(ends, widths[0]) {
			t.Errorf("%v passes for one width", widths)
		}
	}
	all := make([]int, 4)
	rapid.Check(t, func(t *rapid.T) {
		ends, one := []int32{0}, true
		for i := range all {
			all[i] = rapid.IntRange(1, 24).Draw(t, "width")
			ends, one = append(ends, ends[i]+int32(all[i])), one && all[i] == all[0]
		}
		if fixed(ends, all[0]) != one {
			t.Fatalf("%v", all)
		}
	})
}
