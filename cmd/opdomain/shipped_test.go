package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox/algo/manifest"
)

// TestShipped: every algorithm beside this command is built by it, under the name that its code gives itself, and its README says how it is asked.
func TestShipped(t *testing.T) {
	folders, err := filepath.Glob("../algo-*")
	if err != nil || len(folders) < 11 {
		t.Fatal(folders, err)
	}
	contracts := map[manifest.Contract]int{}
	for _, dir := range folders {
		a := &app{}
		d, err := a.draft(dir)
		if err != nil {
			t.Error(err)
			continue
		}
		contracts[d.Contract]++
		if d.Contract != manifest.Program {
			continue // scripts 94_map and 94_opaque build those
		}
		code, err := os.ReadFile(filepath.Join(dir, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(code, []byte(`algo.Main("`+d.Name+`", `)) {
			t.Errorf("%s: %s names another Program than main.go", dir, algoFile)
		}
		readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
		if err != nil || !bytes.Contains(readme, []byte("--program "+d.Name+"-"+d.Version)) {
			t.Errorf("%s: its README does not say how %s-%s is asked: %v", dir, d.Name, d.Version, err)
		}
		// Built as a folder of its author's, beside what may stand signed in this one.
		own := filepath.Join(t.TempDir(), d.Name)
		if err := os.CopyFS(own, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(own, "go.mod"), []byte(strings.ReplaceAll(moduleTemplate, "NAME", d.Name)), 0o600); err != nil {
			t.Fatal(err)
		}
		dir = own
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), []string{"algo", "build", "--sdk", "../..", dir}, nil, &stdout, &stderr); status != 0 {
			t.Errorf("%s: %s", dir, stderr.String())
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, algoBuilt, algoManifest))
		var m manifest.Manifest
		if err == nil {
			err = json.Unmarshal(raw, &m)
		}
		if err != nil || m.Name != d.Name || m.Contract != d.Contract || m.Format != "wasm" {
			t.Errorf("%s: %v %+v", dir, err, m)
		}
		stdout.Reset()
		if status := run(t.Context(), []string{"algo", "check", dir}, nil, &stdout, &stderr); status != 0 || !strings.Contains(stdout.String(), d.Name) {
			t.Errorf("%s: %s", dir, stderr.String())
		}
	}
	if contracts[manifest.Program] < 8 || contracts[manifest.Map] == 0 || contracts[manifest.Opaque] == 0 {
		t.Errorf("%v", contracts)
	}
}
