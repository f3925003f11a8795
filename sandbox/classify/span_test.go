package classify

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSpans(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"身份证11010519491231002X电话13800138000", "[resident-id][mobile]"},
		{"身份证号：１１０１０５１９４９１２３１００２Ｘ。", "[resident-id]"},
		{"110105 1949 1231 002X", "[resident-id]"},
		{"证件110105-19491231-002x，", "[resident-id]"},
		{"ID11010519491231002X13800138000", "[resident-id][mobile]"},
		{"流水99110105194912310021X3", ""},
		{"2024-01-15 13800138000", "[mobile]"},
		{"电话138 0013 8000，卡6222 0212 3456 7890 128", "[mobile][bank-card]"},
		{"tel13800138000", "[mobile]"},
		{"1380013800013900139000", "[mobile][mobile]"},
		{"金额13800138000.00元", ""},
		{"电话(0755)26001234或0755-26001234", "[landline][landline]"},
		{"香港身份证A123456(3)，", "[hkid]"},
		{"车牌粤BD12345停在", "[plate]"},
		{"邮箱someone@example.org。", "[email]"},
		{"患者王小丫，女，56岁", "[person-name]"},
		{"患者姓名：欧阳明月", "[person-name]"},
		{"联系人阿依努尔·买买提", "[person-name]"},
		{"家住广东省深圳市南山区望海路8号3栋502室，因头痛就诊", "[address]"},
		{"患者家住深圳市南山区望海路8号，", "[address]"},
		{"血压120/80mmHg，高血压病史3年", ""},
		{"住院第3天复查，予12号方案", ""},
		{"", ""},
		{"\xff\xfe13800138000", "[mobile]"},
	} {
		got, last := "", 0
		for _, s := range NewScanner().Spans(nil, c.text) {
			if s.Start < last || s.End <= s.Start || s.End > len(c.text) {
				t.Errorf("spans out of order or place in %q: %+v", c.text, s)
			}
			last = s.End
			got += "[" + string(s.Kind) + "]"
		}
		if got != c.want {
			t.Errorf("%q: %s, want %s", c.text, got, c.want)
		}
	}
}

func FuzzSpans(f *testing.F) {
	for _, s := range []string{"11010519491231002X", "患者王小丫，电话138-0013-8000，住深圳市南山区望海路8号3栋", "a@b.cn", "粤B·12345", "\xff\xfe", "１３８\u200b0013 8000", "138\u200b00138000\u200b", "A123456(3)", "1-1-1-1-1 1"} {
		f.Add(s)
	}
	sc := NewScanner()
	f.Fuzz(func(t *testing.T, s string) {
		last := 0
		for _, x := range sc.Spans(nil, s) {
			if x.Start < last || x.End <= x.Start || x.End > len(s) || x.Kind == None {
				t.Fatal("spans overlap or lie outside")
			}
			if utf8.ValidString(s) && (!utf8.RuneStart(s[x.Start]) || x.End < len(s) && !utf8.RuneStart(s[x.End])) {
				t.Fatal("a span cuts a character")
			}
			last = x.End
		}
	})
}

// A long row of numbers with units and no road before them is gone through once: from each of them anew, half a megabyte took minutes.
func TestLongRowOfUnits(t *testing.T) {
	row := strings.Repeat("1号", 100_000)
	if got := NewScanner().Spans(nil, row); len(got) != 0 {
		t.Errorf("%d finds", len(got))
	}
	if got := NewScanner().Spans(nil, row+"，深圳市福田区莲花路12号3栋"); len(got) != 1 || got[0].Kind != Address {
		t.Errorf("%d finds behind it", len(got))
	}
}
