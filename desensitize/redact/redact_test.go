package redact

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/benchmarks/trapset"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/classify"
)

func must(t testing.TB, r Rule) *Redactor {
	t.Helper()
	x, err := New(r)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestText(t *testing.T) {
	all := must(t, Rule{})
	for _, c := range []struct{ in, want string }{
		{"患者姓名：欧阳明月，身份证号11010519491231002X，电话138-0013-8000。", "患者姓名：[姓名]，身份证号[身份证号]，电话[手机号]。"},
		{"家住广东省深圳市南山区望海路8号3栋502室，因头痛就诊", "家住[地址]，因头痛就诊"},
		{"邮箱someone@example.org车牌粤BD12345", "邮箱[邮箱]车牌[车牌号]"},
		{"卡6222 0212 3456 7890 128", "卡[银行卡号]"},
		{"ID11010519491231002X13800138000", "ID[身份证号][手机号]"},
		{"１１０１０５１９４９１２３１００２Ｘ", "[身份证号]"},
		{"姓名 王 芳，护士 李 静", "姓名 [姓名]，护士 [姓名]"},
		{"患者 欧阳 明月主诉头痛", "患者 [姓名]主诉头痛"},
		{"医生 王 小丽，患者 高 热三天", "医生 [姓名]，患者 高 热三天"},
		{"请赵主任会诊", "请[姓名]主任会诊"},
		{"王阿姨转达，王小姐代办，李护士换药", "[姓名]阿姨转达，[姓名]小姐代办，[姓名]护士换药"},
		{"王芳主任查房", "[姓名]主任查房"},
		{"由值班医生、主管护士与班主任处理，曾担任主任", "由值班医生、主管护士与班主任处理，曾担任主任"},
		{"高血压病史3年，血压120/80mmHg。", "高血压病史3年，血压120/80mmHg。"},
		{"", ""},
		{"电话\xff13800138000", LabelWhole},
		{"\ufeff 无 \u200b", "\ufeff 无 \u200b"},
	} {
		if got := all.Text(c.in); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
	some := must(t, Rule{Keep: []classify.Kind{classify.USCC}, Words: []string{"蓝鲸计划", "蓝鲸"}})
	if got := some.Text("91350100M000100Y43参加蓝鲸计划，蓝鲸，手机13800138000"); got != "91350100M000100Y43参加[敏感词]，[敏感词]，手机[手机号]" {
		t.Errorf("%q", got)
	}
}

func TestBadRules(t *testing.T) {
	for name, r := range map[string]Rule{"confidence": {Confidence: 100}, "negative": {Confidence: -1}, "kind": {Keep: []classify.Kind{classify.Disease}},
		"short word": {Words: []string{"王"}}, "bytes": {Words: []string{"ab\xff"}}, "spaces": {Words: []string{" ab"}}, "long": {Words: []string{strings.Repeat("ab", 200)}}} {
		_, err := New(r)
		if !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
		for _, w := range r.Words {
			if err != nil && strings.Contains(err.Error(), w) {
				t.Errorf("%s: the error repeats the word", name)
			}
		}
	}
}

// TestIdentifiersAreGone counts the labelled places of drawn notes whose text is still there after redaction.
func TestIdentifiersAreGone(t *testing.T) {
	x := must(t, Rule{})
	total, left := 0, 0
	names, kept := 0, 0
	for _, n := range trapset.New(99).Notes(2000) {
		out := x.Text(n.Text)
		for _, s := range n.Spans {
			there := strings.Contains(out, n.Text[s.Start:s.End])
			if s.Kind == classify.PersonName {
				names++
				if there {
					kept++
				}
				continue
			}
			total++
			if there {
				left++
			}
		}
	}
	t.Logf("%d of %d identifiers and addresses left, %d of %d names", left, total, kept, names)
	if total < 5000 || float64(left) > 0.01*float64(total) {
		t.Errorf("%d of %d identifiers are left, at most one in a hundred", left, total)
	}
	if float64(kept) > 0.05*float64(names) {
		t.Errorf("%d of %d names are left", kept, names)
	}
}

func texts(mem memory.Allocator, values []string, null []bool) *array.String {
	b := array.NewStringBuilder(mem)
	defer b.Release()
	for i, v := range values {
		if null[i] {
			b.AppendNull()
		} else {
			b.Append(v)
		}
	}
	return b.NewStringArray()
}

// TestLaws: length, nulls and type stay under slices, for strings and dictionaries; both give what Text gives.
func TestLaws(t *testing.T) {
	x := must(t, Rule{})
	g := trapset.New(5)
	var pool []string
	for _, n := range g.Notes(20) {
		pool = append(pool, n.Text)
	}
	pool = append(pool, "", "无", "\xff", "11010519491231002X", "患者王小丫")
	rapid.Check(t, func(t *rapid.T) {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		n := rapid.IntRange(0, 20).Draw(t, "rows")
		values, null := make([]string, n), make([]bool, n)
		for i := range values {
			values[i], null[i] = rapid.SampledFrom(pool).Draw(t, "text"), rapid.IntRange(0, 3).Draw(t, "null") == 0
		}
		from := rapid.IntRange(0, n).Draw(t, "from")
		whole := texts(mem, values, null)
		defer whole.Release()
		d := array.NewDictionaryBuilder(mem, &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}).(*array.BinaryDictionaryBuilder)
		defer d.Release()
		for i := range values {
			if null[i] {
				d.AppendNull()
			} else if err := d.AppendString(values[i]); err != nil {
				t.Fatal(err)
			}
		}
		dict := d.NewArray()
		defer dict.Release()
		for _, in := range []arrow.Array{whole, dict} {
			part := array.NewSlice(in, int64(from), int64(n))
			out, err := x.Apply(mem, part)
			if err != nil {
				t.Fatal(err)
			}
			if out.Len() != part.Len() || out.NullN() != part.NullN() || !arrow.TypeEqual(out.DataType(), in.DataType()) {
				t.Fatal("length, nulls or type changed")
			}
			for i := range out.Len() {
				if out.IsNull(i) != null[from+i] {
					t.Fatal("a null moved")
				}
				if !out.IsNull(i) && out.ValueStr(i) != x.Text(values[from+i]) {
					t.Fatal("a row differs from its text")
				}
			}
			out.Release()
			part.Release()
		}
	})
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	b := array.NewInt64Builder(mem)
	defer b.Release()
	b.Append(13800138000)
	a := b.NewArray()
	defer a.Release()
	if _, err := x.Apply(mem, a); !errors.Is(err, sandbox.Invalid) || strings.Contains(err.Error(), "138") {
		t.Errorf("a column of numbers: %v", err)
	}
	in := texts(mem, []string{"手机13800138000", "x"}, []bool{false, true})
	defer in.Release()
	out, err := x.Apply(mem, in)
	if err != nil {
		t.Fatal(err)
	}
	out.Release()
}

// TestRowsAllocateNothing: memory of a call grows with the batch, not with its rows.
func TestRowsAllocateNothing(t *testing.T) {
	x := must(t, Rule{})
	mem := memory.NewGoAllocator()
	count := func(rows int) float64 {
		values := make([]string, rows)
		for i := range values {
			values[i] = "患者王小丫，电话13800138000，家住深圳市南山区望海路8号。"
		}
		in := texts(mem, values, make([]bool, rows))
		return testing.AllocsPerRun(5, func() {
			out, err := x.Apply(mem, in)
			if err != nil {
				t.Fatal(err)
			}
			out.Release()
		})
	}
	if few, many := count(100), count(10_000); many > few+40 {
		t.Errorf("%.0f allocations for 100 rows, %.0f for 10,000", few, many)
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"身份证11010519491231002X", "患者王小丫，138 0013 8000", "\xff\xfe", "a@b.cn", "粤B·12345", "１３８００１３８０００", "138\u200b00138000", "[姓名]先生"} {
		f.Add(s)
	}
	x, err := New(Rule{Words: []string{"蓝鲸"}})
	if err != nil {
		f.Fatal(err)
	}
	sc := classify.NewScanner()
	f.Fuzz(func(t *testing.T, s string) {
		out := x.Text(s)
		switch {
		case !utf8.ValidString(out):
			t.Fatal("the result is no UTF-8")
		case !utf8.ValidString(s) && out != LabelWhole:
			t.Fatal("a text that is no UTF-8 passed")
		case utf8.ValidString(s) && len(sc.Spans(nil, s)) == 0 && !strings.Contains(s, "蓝鲸") && out != s:
			t.Fatal("a text without a find changed")
		}
		for _, w := range []string{"蓝鲸"} {
			if utf8.ValidString(s) && strings.Contains(out, w) && !strings.Contains(s, w) {
				t.Fatal("redaction made a word of the plan")
			}
		}
	})
}
