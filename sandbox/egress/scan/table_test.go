package scan

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/classify"
)

func scanned(t testing.TB, fields []Field, rows ...[]string) []Hit {
	t.Helper()
	x, err := NewTable(fields)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		x.Row(r)
	}
	return x.Hits()
}

func TestHitsNamePlaceAndRule(t *testing.T) {
	fields := []Field{{"area", Label}, {"note", Text}, {"people", Count}}
	hits := scanned(t, fields, []string{"440306", "x", "12"}, []string{"13800138000", "x", "12"}, []string{"13800138001", "x", "13900139000"})
	if len(hits) != 2 || hits[0] != (Hit{Rule: RuleIdentifier, Kind: classify.Mobile, Form: Plain, Column: "area", Row: 2, Count: 2}) ||
		hits[1] != (Hit{Rule: RuleIdentifier, Kind: classify.Mobile, Form: Plain, Column: "people", Row: 3, Count: 1}) {
		t.Errorf("%v", hits)
	}
	if s := hits[0].String(); s != "identifier mobile in area, row 2 and 1 more" {
		t.Error(s)
	}
	if hits := scanned(t, []Field{{"13800138000", Count}}); len(hits) != 1 || hits[0].Row != 0 || hits[0].Column != "column 1" {
		t.Errorf("a header: %v", hits)
	}
	if hits := scanned(t, []Field{{"a", Label}}, []string{"1", "13800138000"}); len(hits) != 1 {
		t.Errorf("a cell beyond the header: %v", hits)
	}
	if hits := scanned(t, []Field{{"a", Amount}}, []string{"see 13800138000"}); len(hits) != 1 {
		t.Errorf("text among amounts: %v", hits)
	}
	if hits := scanned(t, []Field{{"a", Token}}, []string{"13800138000"}, []string{"9f86d081884c7d659a2feaa0c55ad015"}); len(hits) != 0 {
		t.Errorf("a token is judged by what it looks like: %v", hits)
	}
	if _, err := NewTable([]Field{{"a", "other"}}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("an unknown role: %v", err)
	}
}

// An amount in fen looks like a mobile, and one in ten of the largest like a card; only more than chance is a hit.
func TestAmountsAreLetThrough(t *testing.T) {
	var rows [][]string
	for i := range 500 {
		rows = append(rows, []string{strconv.Itoa(13_800_000_000 + i*7919), strconv.Itoa(6_222_021_234_567_890 + i*104729), "1.38e10"})
	}
	fields := []Field{{"sum", Amount}, {"large", Amount}, {"float", Amount}}
	if hits := scanned(t, fields, rows...); len(hits) != 0 {
		t.Errorf("%v", hits)
	}
	for i := range rows {
		for {
			n, _ := strconv.Atoi(rows[i][1])
			if classify.Valid(classify.BankCard, []byte(rows[i][1])) {
				break
			}
			rows[i][1] = strconv.Itoa(n + 1)
		}
	}
	if hits := scanned(t, fields, rows...); len(hits) != 1 || hits[0].Kind != classify.BankCard || hits[0].Count != 500 {
		t.Errorf("cards as amounts: %v", hits)
	}
	for _, v := range []string{"110105194912310038", "1.10105194912310038e17", "1101051949123100.38", "110105194912310038.0"} {
		if hits := scanned(t, []Field{{"sum", Amount}}, []string{v}); !has(hits, classify.ResidentID) {
			t.Errorf("an identity number as an amount: %v", hits)
		}
	}
}

func TestNumbersOverCellsAndRows(t *testing.T) {
	fields := []Field{{"a", Label}, {"b", Label}, {"c", Label}}
	if hits := scanned(t, fields, []string{"110105", "19491231", "002X"}); len(hits) != 1 || hits[0].Form != Cells || hits[0].Column != "a" || hits[0].Detail != "3 cells" {
		t.Errorf("over cells: %v", hits)
	}
	if hits := scanned(t, fields[:1], []string{"x1"}, []string{"110105"}, []string{"1949-12-31"}, []string{"００２Ｘ"}); len(hits) != 1 || hits[0].Form != Rows || hits[0].Row != 4 {
		t.Errorf("over rows: %v", hits)
	}
	var rows [][]string
	for i := range 40 {
		s := fmt.Sprint(13800138000 + i*1031)
		rows = append(rows, []string{s[:3], s[3:7], s[7:]})
	}
	if hits := scanned(t, fields, rows...); len(hits) == 0 || hits[0].Kind != classify.Mobile {
		t.Errorf("mobiles over cells: %v", hits)
	}
	for i := range rows {
		rows[i] = []string{strconv.Itoa(114), fmt.Sprintf("113.%06d", 900_000+i), fmt.Sprintf("22.%06d", 500_000+i)}
	}
	if hits := scanned(t, fields, rows...); !has(hits, Coordinate) {
		t.Errorf("coordinates in two columns: %v", hits)
	}
}

func TestColumnsOfNames(t *testing.T) {
	var rows [][]string
	for _, n := range strings.Fields("张伟 李娜 王芳 刘洋 陈静 杨敏 赵磊 黄丽 周强 吴军 徐艳 孙杰 胡明 朱霞 高翔 林涛 何平 郭鑫 马超 罗兰 梁栋 宋佳 郑爽 谢霆 韩雪") {
		rows = append(rows, []string{n})
	}
	if hits := scanned(t, []Field{{"姓名", Text}}, rows...); !has(hits, classify.PersonName) {
		t.Errorf("%v", hits)
	}
}

// FuzzText: it never panics, looks at no more than a bounded multiple of its input, and finds what it found in a longer text too.
func FuzzText(f *testing.F) {
	for _, v := range examples {
		for _, w := range forms {
			f.Add(w(v))
		}
	}
	for _, s := range []string{"", "\xff\xfe", "%%%%%", `\u\u\u\u`, "&#;&#;&#;", strings.Repeat("1", 5000), strings.Repeat("MTM", 2000), strings.Repeat("%3", 500), "0x0x0x0x31 32"} {
		f.Add(s)
	}
	s := NewScanner()
	f.Fuzz(func(t *testing.T, text string) {
		hits := s.Text(text, true)
		if s.work > 20*len(text)+4*maxInflate {
			t.Fatalf("%d bytes looked at for %d", s.work, len(text))
		}
		for _, h := range hits {
			if h.Rule == "" || h.Count < 1 {
				t.Fatal("a hit without a rule")
			}
		}
		x, err := NewTable([]Field{{"a", Label}, {"b", Amount}, {"c", Text}, {"d", Count}, {"e", Token}})
		if err != nil {
			t.Fatal(err)
		}
		x.Row([]string{text, text, text, text, text})
		x.Row(strings.Split(text, ","))
		x.Hits()
	})
}
