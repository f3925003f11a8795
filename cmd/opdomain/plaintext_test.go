package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/opdomain/opdomain/benchmarks/datagen"
)

// tables generates a small district's tables.
func tables(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tables")
	if _, err := datagen.Generate(dir, datagen.Options{Persons: 1000, Seed: 7}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// opdomain runs the command line and gives its exit status and output.
func opdomain(t *testing.T, args ...string) (int, string, string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code := run(context.Background(), args, strings.NewReader(""), &out, &errOut)
	return code, out.String(), errOut.String()
}

// played plays the demo on generated tables and keeps the domain.
func played(t *testing.T) (data, dir string, sum summary) {
	t.Helper()
	data, dir = tables(t), filepath.Join(t.TempDir(), "kept")
	code, out, errOut := opdomain(t, "demo", "--data", data, "--map", "district", "--keep", dir, "--json")
	if code != 0 {
		t.Fatalf("demo: exit %d\n%s", code, errOut)
	}
	if err := json.Unmarshal([]byte(out), &sum); err != nil {
		t.Fatalf("the summary is not JSON: %v", err)
	}
	return data, dir, sum
}

// needles finds many texts in a stream of bytes at once: every text is at least 8 bytes, looked up by its first 8.
type needles map[[8]byte][]needle

type needle struct {
	bytes  []byte
	column string // where it came from; the text itself is never printed
	form   string
}

func (n needles) add(b []byte, column, form string) {
	if len(b) >= 8 {
		n[[8]byte(b)] = append(n[[8]byte(b)], needle{b, column, form})
	}
}

// text adds a text in every form it could lie in a file.
func (n needles) text(s, column string) {
	n.add([]byte(s), column, "UTF-8")
	u := utf16.Encode([]rune(s))
	var le, be []byte
	for _, c := range u {
		le, be = append(le, byte(c), byte(c>>8)), append(be, byte(c>>8), byte(c))
	}
	n.add(le, column, "UTF-16LE")
	n.add(be, column, "UTF-16BE")
	n.add([]byte(hex.EncodeToString([]byte(s))), column, "hex")
	n.add([]byte(strings.ToUpper(hex.EncodeToString([]byte(s)))), column, "HEX")
	// Inside a longer text a string stands at any of three alignments; the characters that depend on its neighbours are cut.
	for shift := range 3 {
		padded := append(bytes.Repeat([]byte{0}, shift), s...)
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			e := enc.EncodeToString(padded)
			from, to := (shift*8+5)/6, len(e)
			if len(padded)%3 != 0 {
				to--
			}
			if to > from {
				n.add([]byte(e[from:to]), column, "base64")
			}
		}
	}
}

func (n needles) search(b []byte) (needle, bool) {
	for i := 0; i+8 <= len(b); i++ {
		for _, x := range n[[8]byte(b[i:i+8])] {
			if bytes.HasPrefix(b[i:], x.bytes) {
				return x, true
			}
		}
	}
	return needle{}, false
}

// ingested collects every field of 8 bytes or more of every table, dates and amounts aside: they are typed values, and the
// domain's own times look like dates.
func ingested(t *testing.T, dir string) needles {
	t.Helper()
	out := needles{}
	files, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	count := 0
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, row := range rows[1:] {
			for i, v := range row {
				column := rows[0][i]
				if len(v) < 8 || seen[v] || strings.HasSuffix(column, "_date") || column == "amount" {
					continue
				}
				seen[v] = true
				count++
				out.text(v, filepath.Base(path)+" "+column)
			}
		}
	}
	if count < 5000 {
		t.Fatalf("only %d texts were collected", count)
	}
	return out
}

// TestNoIngestedTextInAnyFile searches a played domain's whole folder, its evidence bundle included, for everything that
// was pushed. 依据: 原始数据不出域.
func TestNoIngestedTextInAnyFile(t *testing.T) {
	data, dir, _ := played(t)
	find := ingested(t, data)
	files, total := 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files, total = files+1, total+len(b)
		rel, _ := filepath.Rel(dir, path)
		if n, ok := find.search(b); ok {
			t.Errorf("%s holds a text of %s as %s", rel, n.column, n.form)
		}
		if n, ok := find.search([]byte(rel)); ok {
			t.Errorf("a file is named by a text of %s", n.column)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 30 || total < 200_000 {
		t.Errorf("only %d files of %d bytes were searched", files, total)
	}
}

// TestSearchFinds holds the search itself: a text planted in each form is found.
func TestSearchFinds(t *testing.T) {
	const secret = "Zq7-secret-text"
	find := needles{}
	find.text(secret, "planted")
	var le []byte
	for _, c := range utf16.Encode([]rune(secret)) {
		le = append(le, byte(c), byte(c>>8))
	}
	for name, b := range map[string][]byte{
		"utf-8":   []byte("before " + secret + " after"),
		"utf-16":  append([]byte("xy"), le...),
		"hex":     []byte("00" + hex.EncodeToString([]byte(secret)) + "ff"),
		"base64":  []byte(base64.StdEncoding.EncodeToString([]byte(secret))),
		"base64+": []byte(base64.StdEncoding.EncodeToString([]byte("a" + secret + "b"))),
		"base64=": []byte(base64.URLEncoding.EncodeToString([]byte("ab" + secret))),
	} {
		if _, ok := find.search(b); !ok {
			t.Errorf("a planted text was not found as %s", name)
		}
	}
	if _, ok := find.search(bytes.Repeat([]byte("nothing here "), 100)); ok {
		t.Error("a text was found where there is none")
	}
}
