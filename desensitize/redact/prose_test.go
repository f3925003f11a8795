package redact

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestProse holds redaction to texts that no generator drew: what identifies goes, and what the text is about stays.
func TestProse(t *testing.T) {
	b, err := os.ReadFile("testdata/prose.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Texts []struct {
			Text       string
			Gone, Kept []string
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Texts) < 15 {
		t.Fatalf("%d texts were read", len(file.Texts))
	}
	x := must(t, Rule{})
	for i, c := range file.Texts {
		out := x.Text(c.Text)
		for _, s := range c.Gone {
			if !strings.Contains(c.Text, s) {
				t.Errorf("text %d does not have its own part %q", i+1, s)
			}
			if strings.Contains(out, s) {
				t.Errorf("text %d: %q is left", i+1, s)
			}
		}
		for _, s := range c.Kept {
			if !strings.Contains(out, s) {
				t.Errorf("text %d: %q is gone: %s", i+1, s, out)
			}
		}
	}
}
