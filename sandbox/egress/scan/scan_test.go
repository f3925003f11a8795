package scan

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/opdomain/opdomain/sandbox/classify"
)

// Published examples and made-up numbers.
var examples = map[classify.Kind]string{
	classify.ResidentID:   "11010519491231002X",
	classify.ResidentID15: "110105491231002",
	classify.USCC:         "91350100M000100Y43",
	classify.Mobile:       "13800138000",
	classify.BankCard:     "6222021234567890128",
	classify.HKID:         "A1234563",
	classify.Passport:     "E12345678",
	classify.Plate:        "粤B12345",
	classify.Email:        "zhang.san@example.org",
	classify.Address:      "广东省深圳市龙华区民治街道民塘路328号3栋1502室",
	Coordinate:            "114.057868,22.543099",
}

func wide(s string) string {
	return strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r - '!' + '！'
		}
		return r
	}, s)
}

func between(s, sep string) string { return strings.Join(strings.Split(s, ""), sep) }

func backwards(s string) string {
	r := []rune(s)
	slices.Reverse(r)
	return string(r)
}

func zipped(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.Bytes()
}

func wideBytes(s string) (out []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		out = append(out, byte(u), byte(u>>8))
	}
	return out
}

func each(s string, format string) string {
	var b strings.Builder
	for _, r := range s {
		fmt.Fprintf(&b, format, r)
	}
	return b.String()
}

// forms write a text in every way the package knows.
var forms = map[string]func(string) string{
	"plain":      func(s string) string { return s },
	"in words":   func(s string) string { return "备注：" + s + "。" },
	"base64":     func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 url": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("?>" + s)) },
	"base64, +1": func(s string) string { return "x" + base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64, +2": func(s string) string { return "xy" + base64.StdEncoding.EncodeToString([]byte(","+s)) },
	"base64, +3": func(s string) string { return "xyz" + base64.StdEncoding.EncodeToString([]byte("b,"+s)) },
	"base64 twice": func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(s))))
	},
	"base64 of hex":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString([]byte(s)))) },
	"base64 of utf16": func(s string) string { return base64.StdEncoding.EncodeToString(wideBytes(s)) },
	"hex":             func(s string) string { return hex.EncodeToString([]byte(s)) },
	"hex, +1":         func(s string) string { return "a" + strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"hex apart":       func(s string) string { return strings.TrimSpace(fmt.Sprintf("% x", s)) },
	"hex with colons": func(s string) string { return strings.ReplaceAll(fmt.Sprintf("% X", s), " ", ":") },
	"percent": func(s string) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			fmt.Fprintf(&b, "%%%02x", c)
		}
		return b.String()
	},
	"json":            func(s string) string { return each(s, `\u%04x`) },
	"html":            func(s string) string { return each(s, "&#%d;") },
	"html hex":        func(s string) string { return each(s, "&#x%x;") },
	"gzip in base64":  func(s string) string { return base64.StdEncoding.EncodeToString(zipped(s)) },
	"gzip in hex":     func(s string) string { return hex.EncodeToString(zipped(s)) },
	"percent of that": func(s string) string { return url.QueryEscape("{\"" + html.EscapeString(s) + "\"}%20%20") },
}

// numbered are the forms of numbers alone.
var numbered = map[string]func(string) string{
	"full-width":  wide,
	"spaced":      func(s string) string { return between(s, " ") },
	"hyphens":     func(s string) string { return s[:3] + "-" + s[3:7] + "-" + s[7:] },
	"zero width":  func(s string) string { return between(s, "\u200b") },
	"soft hyphen": func(s string) string { return between(s, "\u00ad") },
	"no-break":    func(s string) string { return s[:4] + "\u00a0" + s[4:8] + "\u00a0" + s[8:] },
	"lower case":  strings.ToLower,
	"other digits": func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return '٠' + r - '0'
			}
			return r
		}, s)
	},
	"mathematical": func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return 0x1d7e2 + r - '0'
			}
			return r
		}, s)
	},
}

func has(hits []Hit, k classify.Kind) bool {
	return slices.ContainsFunc(hits, func(h Hit) bool { return h.Rule == RuleIdentifier && h.Kind == k })
}

func TestEveryFormOfEveryKind(t *testing.T) {
	s := NewScanner()
	for k, v := range examples {
		for name, f := range forms {
			if !has(s.Text(f(v), false), k) {
				t.Errorf("%s, %s: not found", k, name)
			}
		}
		switch k {
		case classify.Plate, classify.Email, classify.Address, Coordinate:
			continue
		}
		for name, f := range numbered {
			if !has(s.Text(f(v), false), k) {
				t.Errorf("%s, %s: not found", k, name)
			}
		}
	}
	for _, k := range []classify.Kind{classify.ResidentID, classify.USCC, classify.Mobile, classify.BankCard} {
		if !has(s.Text(backwards(examples[k]), false), k) {
			t.Errorf("%s, reversed: not found", k)
		}
	}
	for text, k := range map[string]classify.Kind{
		"一三八零零一三八零零零":                         classify.Mobile,
		"幺三八〇〇幺三八〇〇〇":                         classify.Mobile,
		"１３８〇〇１３８０００":                         classify.None,
		"1872f4f0d0a3c5":                      classify.None,
		fmt.Sprintf("%x", 440301199003071505): classify.ResidentID,
		"经度114.0579，纬度22.5431":                Coordinate,
	} {
		if k != classify.None && !has(s.Text(text, false), k) {
			t.Errorf("%q: %s is not found", text, k)
		}
	}
}

// What an aggregate says is let through.
func TestHonestTexts(t *testing.T) {
	s := NewScanner()
	for _, text := range []string{
		"", "440306", "440306001", "440306001002", "44030600000000001 440306", "2026-01-01/2026-12-31", "2026-01-01 13:45:00", "2026年1月", "[20,30)", "20-29岁", "90岁及以上",
		"15000-200000", "15000—200000元", "15,000,200,000", "12800138000", "138001380001", "913800138000", "110105194912310021", "11010519491331002X",
		"I10 原发性高血压", "E11.900x001", "J18.9", "民治街道", "深圳市龙华区民治街道", "龙华区", "信息传输、软件和信息技术服务业", "I65", "0.123456", "114.05", "22.5431",
		"suppressed", "男", "certificate of registration", "ambulatory-surgery", "q-1f0c", "SM3", "https://example.org/path/to/page", "A00-B99 certain infectious and parasitic diseases",
		"100%", "50%-60%", "C&A", "1:2:3", "12:34:56:78", "AB12", "T-4754-2017",
	} {
		if hits := s.Text(text, false); len(hits) > 0 {
			t.Errorf("%q: %v", text, hits)
		}
	}
}

// The gate's own list of how people write a number, and what only looks like one.
func TestIdentifiersHoweverWritten(t *testing.T) {
	s := NewScanner()
	for label, want := range map[string]bool{
		"138-0013-8000": true, "138 00138000": true, "1380013 8000": true, "138–0013–8000": true, "１３８　００１３　８０００": true, "+8613800138000": true, "+86 138 0013 8000": true,
		"0086-13800138000": true, "8613800138000": true, "13800138000 2024": true, "2024 13800138000": true, "电话13800138000转8": true, "110105_19491231_002x": true,
		"A123456(3)": true, "6222 0212 3456 7890 128": true, "4111-1111-1111-1111": true,
		"6222 0212 3456 7890 129": false, "4111-1111-1111-1112": false, "A123456(7)": false, "1380-0138000": false,
	} {
		if got := len(s.Text(label, false)) > 0; got != want {
			t.Errorf("%q: %v, want %v", label, got, want)
		}
	}
}

func TestNamesAndPhonesInFreeText(t *testing.T) {
	s := NewScanner()
	text := "患者姓名：欧阳明，联系电话0755-28123456"
	if hits := s.Text(text, true); !has(hits, classify.PersonName) || !has(hits, classify.Landline) {
		t.Errorf("free text: %v", hits)
	}
	if hits := s.Text(text, false); len(hits) > 0 {
		t.Errorf("a label: %v", hits)
	}
}

func TestOpaqueTexts(t *testing.T) {
	s := NewScanner()
	digest := "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	deep := "13800138000"
	for range 5 {
		deep = base64.StdEncoding.EncodeToString([]byte(deep))
	}
	for _, text := range []string{digest, "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=", deep} {
		hits := s.Text(text, false)
		if len(hits) != 1 || hits[0].Rule != RuleOpaque {
			t.Errorf("%d characters: %v", len(text), hits)
		}
	}
	bomb := base64.StdEncoding.EncodeToString(zipped(strings.Repeat("0", 64<<20)))
	if hits := s.Text(bomb, false); !slices.ContainsFunc(hits, func(h Hit) bool { return h.Rule == RuleOpaque }) {
		t.Errorf("a compressed bomb: %v", hits)
	}
}

func TestHitsNameNoValue(t *testing.T) {
	s := NewScanner()
	for _, v := range examples {
		for _, h := range s.Text(v, true) {
			if out := fmt.Sprintf("%v %#v", h, h); strings.Contains(out, v) {
				t.Errorf("%s shows a value", h.Kind)
			}
		}
		if out := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(out, v) || !strings.Contains(out, "redacted") {
			t.Error("a scanner shows its text")
		}
	}
}
