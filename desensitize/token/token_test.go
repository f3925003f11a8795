package token

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

type operation interface {
	Apply(memory.Allocator, arrow.Array) (arrow.Array, error)
	Masked() int64
}

type fatal interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// secret derives as a domain's key does.
type secret string

func (s secret) Derive(n int, context ...string) ([]byte, error) {
	var parts [][]byte
	for _, c := range context {
		parts = append(parts, []byte(c))
	}
	return sm.HKDF([]byte(s), nil, sm.Frame(parts...), n)
}

func keyOf(t fatal, s Scope) Key {
	t.Helper()
	k, err := DeriveKey(secret("a secret of the domain, for tests"), s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var scope = Scope{Scenario: "claims", Partner: "insurer"}

func must[T any](t fatal) func(T, error) T {
	return func(x T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

// column is a String array at an offset, with nulls where valid says so.
func column(mem memory.Allocator, values []string, valid []bool, offset int) arrow.Array {
	b := array.NewStringBuilder(mem)
	defer b.Release()
	for range offset {
		b.Append("before")
	}
	b.AppendValues(values, valid)
	b.Append("behind")
	a := b.NewArray()
	defer a.Release()
	return array.NewSlice(a, int64(offset), int64(offset+len(values)))
}

func strs(a arrow.Array) (out []string) {
	for i := range a.Len() {
		switch a := a.(type) {
		case *array.String:
			if a.IsValid(i) {
				out = append(out, strings.Clone(a.Value(i)))
				continue
			}
		case *array.Int64:
			if a.IsValid(i) {
				out = append(out, strconv.FormatInt(a.Value(i), 10))
				continue
			}
		case *array.Dictionary:
			if a.IsValid(i) {
				out = append(out, strings.Clone(a.Dictionary().(*array.String).Value(a.GetValueIndex(i))))
				continue
			}
		}
		out = append(out, "null")
	}
	return out
}

func apply(t fatal, o operation, values ...string) []string {
	t.Helper()
	a := column(memory.DefaultAllocator, values, nil, 0)
	defer a.Release()
	out, err := o.Apply(memory.DefaultAllocator, a)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Release()
	return strs(out)
}

func genDate() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		for {
			s := fmt.Sprintf("%04d%02d%02d", rapid.IntRange(1900, 2049).Draw(t, "y"), rapid.IntRange(1, 12).Draw(t, "m"), rapid.IntRange(1, 31).Draw(t, "d"))
			if _, ok := readDay([]byte(s)); ok {
				return s
			}
		}
	})
}

func genID() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		s := fmt.Sprintf("%02d%04d%s%03d", rapid.SampledFrom(provinceCodes[:]).Draw(t, "p"), rapid.IntRange(0, 9999).Draw(t, "r"), genDate().Draw(t, "date"), rapid.IntRange(0, 999).Draw(t, "o"))
		return s + string(checkCharacter([]byte(s)))
	})
}

func genCard(min int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		s := "62" + rapid.StringMatching(fmt.Sprintf(`[0-9]{%d,16}`, min-3)).Draw(t, "card")
		return s + string(luhn([]byte(s)))
	})
}

func genMobile() *rapid.Generator[string] { return rapid.StringMatching(`1[3-9][0-9]{9}`) }

// cases are all operations with values that fit them and values that do not.
type testCase struct {
	name string
	make func(Key) (operation, error)
	fits *rapid.Generator[string]
	bad  []string
	kept func(v, w string) bool // what a token keeps of its value
	ints bool
}

func op[T operation](o T, err error) (operation, error) {
	if err != nil {
		return nil, err
	}
	return o, nil
}

func idKept(region int, birth bool) func(v, w string) bool {
	return func(v, w string) bool {
		day, ok := readDay([]byte(w[6:14]))
		return len(w) == 18 && v[:region] == w[:region] && (!birth || v[6:14] == w[6:14]) && checkCharacter([]byte(w)) == w[17] &&
			ok && day >= dayNumber(1900, 1, 1) && day <= dayNumber(2049, 12, 31) && provincePlaces[(w[0]-'0')*10+w[1]-'0'] >= 0
	}
}

func cases() (out []testCase) {
	out = []testCase{
		{"keyed", func(k Key) (operation, error) { return op(NewKeyed(k)) }, rapid.StringN(0, 60, 200), nil, func(_, w string) bool { return len(w) == 32 }, true},
		{"block", func(k Key) (operation, error) { return op(NewBlock(k)) }, rapid.StringMatching(`[\x00-\x7f]{0,15}`), []string{"sixteen bytes ..", "一二三四五六"}, func(_, w string) bool { return len(w) == 32 }, true},
		{"mobile", func(k Key) (operation, error) { return op(NewMobile(k, 3)) }, genMobile(), []string{"", "12800138000", "1380013800", "138001380000", "1380013800x", "１３８００１３８０００"},
			func(v, w string) bool { return len(w) == 11 && v[:3] == w[:3] }, true},
		{"date", func(k Key) (operation, error) { return op(NewDate(k, 1, 9999)) }, rapid.Map(genDate(), func(s string) string {
			if s[7]%2 == 0 {
				return s
			}
			return s[:4] + "-" + s[4:6] + "-" + s[6:]
		}), []string{"", "20230229", "00000101", "2023/01/01", "2023-1-01", "19000229", "20001301", "20000132"}, func(v, w string) bool {
			_, ok := readDay([]byte(strings.ReplaceAll(w, "-", "")))
			return ok && len(v) == len(w)
		}, false},
		{"alphabet", func(k Key) (operation, error) { return op(NewAlphabet(k, Base36, 4, 60)) }, rapid.StringMatching(`[0-9a-z]{4,60}`), []string{"", "abc", "ABCDEF", "ab-cdef", "abcdé", strings.Repeat("a", 61)},
			func(v, w string) bool { return len(v) == len(w) }, false},
		{"han", func(k Key) (operation, error) {
			return op(NewAlphabet(k, "零一二三四五六七八九𠮷a", 6, 9))
		}, rapid.StringMatching(`[零一二三四五六七八九𠮷a]{6,9}`), []string{"一二三", "一二三四五陆", "\xff\xff\xff\xff\xff\xff", "�������"}, func(v, w string) bool { return len([]rune(v)) == len([]rune(w)) }, false},
	}
	for _, p := range []int{0, 6} {
		out = append(out, testCase{"card" + strconv.Itoa(p), func(k Key) (operation, error) { return op(NewCard(k, p)) }, genCard(p + 7 + max(0, 6-p)), []string{"", "6222020200112233", "622202020011223x", "0", strings.Repeat("0", 20)},
			func(v, w string) bool {
				return len(v) == len(w) && v[:p] == w[:p] && luhn([]byte(w[:len(w)-1])) == w[len(w)-1]
			}, p > 0})
	}
	for _, c := range []Identity{{}, {Region: 2}, {Region: 6}, {Birth: true}, {Region: 2, Birth: true}} {
		out = append(out, testCase{fmt.Sprintf("id-%d-%v", c.Region, c.Birth), func(k Key) (operation, error) { return op(NewResidentID(k, c)) }, genID(),
			[]string{"", "110101199003070010", "110101199002300011", "991010199003070011", "110101900307001", "1101011990030700xx", "\xff10101199003070011", "110101189912310019"}, idKept(c.Region, c.Birth), false})
	}
	return out
}

func distinct(values []string) []string {
	out := slices.Clone(values)
	slices.Sort(out)
	return slices.Compact(out)
}

// TestLaws: for every operation: shape, nulls and offsets kept; deterministic; injective; never its input; the kept parts kept;
// what does not fit masked whole and counted; dictionaries alike; reversible ones reversed; other scopes other tokens.
func TestLaws(t *testing.T) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
				defer mem.AssertSize(t, 0)
				o := must[operation](rt)(c.make(keyOf(rt, scope)))
				good := rapid.SliceOfN(c.fits, 0, 40).Draw(rt, "good")
				values, fit := slices.Clone(good), make([]bool, len(good))
				for i := range fit {
					fit[i] = true
				}
				for _, b := range c.bad {
					if Normal(b) != b { // its form may fit
						continue
					}
					at := rapid.IntRange(0, len(values)).Draw(rt, "at")
					values, fit = slices.Insert(values, at, b), slices.Insert(fit, at, false)
				}
				valid := rapid.SliceOfN(rapid.Bool(), len(values), len(values)).Draw(rt, "valid")
				if rapid.Bool().Draw(rt, "without nulls") {
					valid = nil
				}
				a := column(mem, values, valid, rapid.SampledFrom([]int{0, 1, 7, 8, 13}).Draw(rt, "offset"))
				defer a.Release()
				out := must[arrow.Array](rt)(o.Apply(mem, a))
				defer out.Release()
				got := strs(out)
				if out.Len() != len(values) || out.NullN() != a.NullN() {
					rt.Fatal("rows or nulls changed")
				}
				masked := int64(0)
				for i, v := range values {
					switch w := got[i]; {
					case valid != nil && !valid[i]:
						if out.IsValid(i) {
							rt.Fatal("a null has a token")
						}
					case !fit[i]:
						masked++
						if w != Masked {
							rt.Fatalf("row %d does not fit and is not masked", i)
						}
					case w == v || w == Masked:
						rt.Fatalf("row %d is its own token or masked", i)
					case !c.kept(Normal(v), w):
						rt.Fatalf("row %d does not keep its format", i)
					}
				}
				if o.Masked() != masked {
					rt.Fatalf("%d counted, %d masked", o.Masked(), masked)
				}
				// Again, in another column, alone: the same token; distinct values, distinct tokens.
				if tokens := apply(rt, o, good...); len(distinct(tokens)) != len(distinct(forms(good))) {
					rt.Fatal("two values have one token")
				} else if len(good) > 0 && apply(rt, o, good[0])[0] != tokens[0] {
					rt.Fatal("a value has two tokens")
				}
				other := must[operation](rt)(c.make(keyOf(rt, Scope{Scenario: "claims", Partner: "bank"})))
				x, y := apply(rt, o, good...), apply(rt, other, good...)
				same := 0
				for i := range x {
					if x[i] == y[i] {
						same++
					}
				}
				if same > 1 { // formats of 10^6 values meet by chance
					rt.Fatal("tokens of two partners can be linked")
				}
				if r, ok := o.(Reversible); ok {
					back := must[arrow.Array](rt)(Reverse(mem, keyOf(rt, scope), r, out))
					defer back.Release()
					for i, v := range strs(back) {
						if want := valid == nil || valid[i]; want && fit[i] && v != Normal(values[i]) || !(want && fit[i]) && v != "null" {
							rt.Fatalf("row %d does not come back", i)
						}
					}
				}
			})
		})
	}
}

func forms(values []string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = Normal(v)
	}
	return out
}

func TestDictionaries(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	kind := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}
	b := array.NewDictionaryBuilder(mem, kind).(*array.BinaryDictionaryBuilder)
	defer b.Release()
	for _, v := range []string{"13800138000", "x", "13900139000", "13800138000"} {
		if err := b.AppendString(v); err != nil {
			t.Fatal(err)
		}
	}
	b.AppendNull()
	whole := b.NewArray()
	defer whole.Release()
	a := array.NewSlice(whole, 1, 5)
	defer a.Release()
	o := must[*Format](t)(NewMobile(keyOf(t, scope), 3))
	out := must[arrow.Array](t)(o.Apply(mem, a))
	defer out.Release()
	plain := apply(t, o, "x", "13900139000", "13800138000")
	if got := strs(out); !slices.Equal(got[:3], plain) || got[3] != "null" || !arrow.TypeEqual(out.DataType(), kind) {
		t.Error("a dictionary's tokens are not those of its values")
	}
}

func TestIntegers(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	b := array.NewInt64Builder(mem)
	defer b.Release()
	b.AppendValues([]int64{7, 13800138000, 13900139000, -5, 0}, []bool{true, true, true, true, false})
	whole := b.NewArray()
	defer whole.Release()
	a := array.NewSlice(whole, 1, 5)
	defer a.Release()
	for _, c := range cases() {
		o := must[operation](t)(c.make(keyOf(t, scope)))
		out, err := o.Apply(mem, a)
		if (err == nil) != c.ints {
			t.Fatalf("%s: %v", c.name, err)
		} else if err != nil {
			continue
		}
		if out.Len() != 4 || out.IsValid(3) {
			t.Errorf("%s: nulls", c.name)
		}
		if c.name == "keyed" && !slices.Equal(strs(out)[:3], apply(t, o, "13800138000", "13900139000", "-5")) {
			t.Error("an integer's token is not that of its text")
		}
		if c.name == "mobile" {
			if out.DataType().ID() != arrow.INT64 || out.IsValid(2) || !slices.Equal(strs(out)[:2], apply(t, o, "13800138000", "13900139000")) || o.Masked() != 1 {
				t.Error("mobiles as integers")
			}
			back := must[arrow.Array](t)(Reverse(mem, keyOf(t, scope), o.(Reversible), out))
			if !slices.Equal(strs(back)[:2], []string{"13800138000", "13900139000"}) {
				t.Error("integers do not come back")
			}
			back.Release()
		}
		out.Release()
	}
	f := array.NewFloat64Builder(mem)
	defer f.Release()
	floats := f.NewArray()
	defer floats.Release()
	for _, c := range cases() {
		if _, err := must[operation](t)(c.make(keyOf(t, scope))).Apply(mem, floats); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s takes floats: %v", c.name, err)
		}
	}
}

// TestRefusals: no key, too small a domain, parameters out of range; before any row is seen.
func TestRefusals(t *testing.T) {
	for _, c := range cases() {
		if _, err := c.make(Key{}); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s without a key: %v", c.name, err)
		}
	}
	k := keyOf(t, scope)
	for name, c := range map[string]struct {
		make func() (operation, error)
		kind sandbox.Kind
	}{
		"birth and county":  {func() (operation, error) { return op(NewResidentID(k, Identity{Region: 6, Birth: true})) }, sandbox.Denied},
		"birth and city":    {func() (operation, error) { return op(NewResidentID(k, Identity{Region: 4, Birth: true})) }, sandbox.Denied},
		"county, two years": {func() (operation, error) { return op(NewResidentID(k, Identity{Region: 6, First: 1990, Last: 1991})) }, sandbox.Denied},
		"three of region":   {func() (operation, error) { return op(NewResidentID(k, Identity{Region: 3})) }, sandbox.Invalid},
		"years":             {func() (operation, error) { return op(NewResidentID(k, Identity{First: 2000, Last: 1990})) }, sandbox.Invalid},
		"card":              {func() (operation, error) { return op(NewCard(k, 9)) }, sandbox.Invalid},
		"mobile":            {func() (operation, error) { return op(NewMobile(k, 7)) }, sandbox.Denied},
		"mobile prefix":     {func() (operation, error) { return op(NewMobile(k, 2)) }, sandbox.Invalid},
		"date of a century": {func() (operation, error) { return op(NewDate(k, 1900, 2049)) }, sandbox.Denied},
		"date years":        {func() (operation, error) { return op(NewDate(k, 0, 9999)) }, sandbox.Invalid},
		"short digits":      {func() (operation, error) { return op(NewAlphabet(k, Decimal, 5, 9)) }, sandbox.Denied},
		"double character":  {func() (operation, error) { return op(NewAlphabet(k, "0123401", 9, 9)) }, sandbox.Invalid},
		"lengths":           {func() (operation, error) { return op(NewAlphabet(k, Decimal, 9, 8)) }, sandbox.Invalid},
	} {
		if _, err := c.make(); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, s := range []Scope{{}, {Scenario: "a"}, {Partner: "b"}, {Scenario: "A b", Partner: "b"}, {Scenario: "a", Partner: "b", Kind: "身份"}} {
		if _, err := DeriveKey(secret("x"), s); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("scope %v: %v", s, err)
		}
	}
	if _, err := NewKey(make([]byte, 31)); !errors.Is(err, sandbox.Invalid) {
		t.Error("a key of 31 bytes")
	}
}

// TestScopesAreApart: scenario, partner and kind each change the key, and cannot be moved into one another.
func TestScopesAreApart(t *testing.T) {
	seen := map[[sm.Size]byte]bool{}
	for _, s := range []Scope{{"a", "b", ""}, {"b", "a", ""}, {"ab", "b", ""}, {"a", "bb", ""}, {"a", "b", "c"}, {"a", "bc", ""}} {
		k := keyOf(t, s)
		if seen[k.secret] {
			t.Errorf("%v shares a key", s)
		}
		seen[k.secret] = true
	}
}

func TestKeysPrintRedacted(t *testing.T) {
	k := keyOf(t, scope)
	keyed, block := must[*Keyed](t)(NewKeyed(k)), must[*Block](t)(NewBlock(k))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, x := range []any{k, &k, []Key{k}} {
			if s := fmt.Sprintf(verb, x); !strings.Contains(s, "redacted") || strings.Contains(s, fmt.Sprint(k.secret[:2])) {
				t.Errorf("%s of %T", verb, x)
			}
		}
		if s := fmt.Sprintf(verb+verb, keyed, block); strings.Count(s, "redacted") != 2 {
			t.Errorf("%s of an operation", verb)
		}
	}
	if b, err := k.MarshalText(); err != nil || bytes.Contains(b, k.secret[:4]) {
		t.Error("text of a key")
	}
}

// TestStandardForms: tokens that another implementation can be held to.
func TestStandardForms(t *testing.T) {
	k := keyOf(t, scope)
	b := must[[]byte](t)(k.derive(sm.Size, "keyed"))
	mac := sm.HMAC(b, []byte("张三"))
	if got := apply(t, must[*Keyed](t)(NewKeyed(k)), "张三")[0]; got != fmt.Sprintf("%x", mac[:16]) {
		t.Error("a keyed token is not HMAC-SM3")
	}
	b = must[[]byte](t)(k.derive(sm.KeySize, "block"))
	blocks := must[*sm.Blocks](t)(sm.NewBlocks(b))
	buf := append([]byte{3}, "abc\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	blocks.Encrypt(buf)
	if got := apply(t, must[*Block](t)(NewBlock(k)), "abc")[0]; got != fmt.Sprintf("%x", buf) {
		t.Error("a block token is not SM4 of its padding")
	}
	// A mobile's eight digits are FF1 over digits with the prefix as tweak.
	b = must[[]byte](t)(k.derive(sm.KeySize, "mobile", "prefix", "3"))
	f := must[*sm.FF1](t)(sm.NewFF1(b, 10, 8, 3))
	x := []uint16{0, 0, 1, 3, 8, 0, 0, 0}
	if err := f.Strings(x, []byte("138")); err != nil {
		t.Fatal(err)
	}
	want := "138"
	for _, d := range x {
		want += string(rune('0' + d))
	}
	if got := apply(t, must[*Format](t)(NewMobile(k, 3)), "13800138000")[0]; got != want {
		t.Error("a mobile's token is not FF1 over its digits")
	}
}

// TestFixedPointsAreMasked walks whole domains of 10^6 until one has a fixed point: each is a permutation, and only fixed points
// are masked. Three in a row have none with probability e^-3; the key is constant, so this one does.
func TestFixedPointsAreMasked(t *testing.T) {
	o := must[*Format](t)(NewMobile(keyOf(t, scope), 5))
	for prefix := 13800; o.Masked() == 0; prefix++ {
		if prefix == 13810 {
			t.Fatal("ten domains without a fixed point")
		}
		fixed := int64(0)
		seen := map[string]bool{}
		for i := range 20 {
			values := make([]string, 50000)
			for j := range values {
				values[j] = fmt.Sprintf("%d%06d", prefix, i*50000+j)
			}
			for j, w := range apply(t, o, values...) {
				if w == Masked {
					fixed++
					continue
				}
				if w == values[j] || seen[w] {
					t.Fatal("a token is its value or another's")
				}
				seen[w] = true
			}
		}
		if fixed != o.Masked() {
			t.Fatalf("%d fixed points, %d counted", fixed, o.Masked())
		}
	}
}

// TestCalendar holds the day numbers against every day of 1 to 9999 in order.
func TestCalendar(t *testing.T) {
	n := dayNumber(1, 1, 1)
	count := 0
	for y := 1; y <= 9999; y++ {
		for m := 1; m <= 12; m++ {
			for d := 1; d <= 31; d++ {
				s := fmt.Appendf(nil, "%04d%02d%02d", y, m, d)
				got, ok := readDay(s)
				if !ok {
					continue
				}
				var back [8]byte
				if writeDay(back[:], got); got != n || !bytes.Equal(back[:], s) {
					t.Fatalf("%d-%d-%d", y, m, d)
				}
				n++
				count++
			}
		}
	}
	if count != 3652059 {
		t.Errorf("%d days", count)
	}
}

// TestWordsAgree holds what works on words of digits against one digit at a time.
func TestWordsAgree(t *testing.T) {
	weights := [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}
	rapid.Check(t, func(rt *rapid.T) {
		v := []byte(rapid.StringMatching(`[0-9]{18}`).Draw(rt, "number"))
		sum := 0
		for i, w := range weights {
			sum += w * int(v[i]-'0')
		}
		if checkCharacter(v) != "10X98765432"[sum%11] {
			rt.Fatal("check character")
		}
		x, _ := digits(v)
		for n := range 19 {
			out := make([]byte, n)
			putDigits(out, x)
			if want := fmt.Sprintf("%018d", x)[18-n:]; string(out) != want {
				rt.Fatalf("%d digits", n)
			}
		}
		at, c := rapid.IntRange(0, 17).Draw(rt, "place"), rapid.Byte().Draw(rt, "byte")
		v[at] = c
		if eightDigits(v) != (at >= 8 || c-'0' <= 9) {
			rt.Fatalf("byte %x at %d", c, at)
		}
		d := divide(rapid.OneOf(rapid.Uint64Range(1, 100_000), rapid.Uint64Min(1)).Draw(rt, "divisor"))
		y := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, d.by - 1, d.by, ^uint64(0), ^uint64(0) / d.by * d.by, ^uint64(0)/d.by*d.by - 1})).Draw(rt, "number to divide")
		if d.quotient(y) != y/d.by {
			rt.Fatalf("%d by %d", y, d.by)
		}
		tag := rapid.SliceOfN(rapid.Byte(), tagSize, tagSize).Draw(rt, "tag")
		var hex [hexSize]byte
		if toHex(hex[:], tag); string(hex[:]) != fmt.Sprintf("%x", tag) {
			rt.Fatal("hexadecimal")
		}
	})
}
