package node

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
)

const module = "github.com/opdomain/opdomain"

// root is the module's folder, seen from this package.
var root = filepath.Join("..", "..")

type listed struct {
	ImportPath, Name, Dir, Doc string
	Imports, Deps, GoFiles     []string
}

var tree = sync.OnceValues(func() ([]listed, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Dir,Doc,Imports,Deps,GoFiles", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

func packages(t *testing.T) []listed {
	t.Helper()
	all, err := tree()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(all) < 20 {
		t.Fatalf("go list shows %d packages; the tree was not read", len(all))
	}
	return all
}

func local(path string) (string, bool) { return strings.CutPrefix(path, module+"/") }

// TestImportLattice holds the tree to imports.txt, the statement of policy.
func TestImportLattice(t *testing.T) {
	text, err := os.ReadFile("imports.txt")
	if err != nil {
		t.Fatal(err)
	}
	allow := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		pkg, deps, _ := strings.Cut(strings.TrimSpace(line), ":")
		allow[pkg] = append(strings.Fields(deps), "sandbox")
	}
	seen := map[string]bool{}
	for _, p := range packages(t) {
		name, _ := local(p.ImportPath)
		seen[name] = true
		may, ok := allow[name]
		if !ok {
			t.Errorf("%s is not in imports.txt", name)
			continue
		}
		for _, imp := range p.Imports {
			if dep, ok := local(imp); ok && !slices.Contains(may, dep) {
				t.Errorf("%s must not import %s", name, dep)
			}
		}
	}
	for name := range allow {
		if !seen[name] && name != "sandbox" {
			t.Errorf("imports.txt lists %s, which does not exist", name)
		}
	}
}

// TestReach lists what must stay out of reach, however indirect the path.
func TestReach(t *testing.T) {
	for _, c := range []struct{ pkg, bad, why string }{
		{"sandbox/api", "sandbox/vault", "the HTTP layer cannot name raw data"},
		{"sandbox/api", "sandbox/columnar", "the HTTP layer computes nothing"},
		{"sandbox/api", "attest/keys", "the front end never holds keys"},
		{"sandbox/api", "sandbox/query/sql", "text is compiled by who opens the front end; the core gets questions"},
		{"sandbox/seam", "sandbox/query/sql", "the core's socket carries questions, not their text"},
		{"sandbox/node", "sandbox/query/sql", "the core parses no text of an asker"},
		{"sandbox/node", "github.com/pingcap/tidb/pkg/parser", "the core parses no text of an asker"},
		{"sandbox/query/sql", "sandbox/vault", "the parser's process needs no data"},
		{"sandbox/query/sql", "attest/keys", "the parser's process holds no keys"},
		{"sandbox/jail", "sandbox/vault", "what confines foreign code holds no data path"},
		{"sandbox/jail", "attest/keys", "what confines foreign code holds no keys"},
		{"sandbox/jail/guest", "sandbox", "an author's program links nothing of the project"},
		{"sandbox/jail/guest", "sandbox/jail", "an author's program links nothing of the project"},
		{"cmd/opdomain", "connectors/file/parse/child", "files of foreign formats are parsed in the jail alone"},
		{"sandbox/fleet", "net", "workers are talked to over pipes"},
		{"sandbox/fleet", "sandbox/node", "a worker process holds no domain"},
		{"sandbox/store", "sandbox/vault", "rows of raw data never enter SQL"},
		{"sandbox/egress", "sandbox/vault", "the gate decides on evidence, not on rows"},
		{"cmd/opdomain-verify", "sandbox/vault", "an auditor's tool holds no data path"},
		{"cmd/opdomain-verify", "sandbox/batch", "an auditor's tool holds no data path"},
		{"cmd/opdomain-verify", "net", "an auditor's tool works offline"},
		{"cmd/opdomain-verify", "attest/keys", "an auditor's tool holds no keys"},
	} {
		found := false
		for _, p := range packages(t) {
			if name, _ := local(p.ImportPath); name != c.pkg {
				continue
			}
			found = true
			if slices.Contains(p.Deps, c.bad) || slices.Contains(p.Deps, module+"/"+c.bad) {
				t.Errorf("%s reaches %s: %s", c.pkg, c.bad, c.why)
			}
		}
		if !found {
			t.Errorf("%s does not exist", c.pkg)
		}
	}
}

// TestBans keeps packages that touch values free of ways to leak them, and outside libraries in their one wrapper.
func TestBans(t *testing.T) {
	leak := []string{"log", "log/slog", "net", "net/http", "os", "database/sql", "math/rand", "math/rand/v2"}
	pure := []string{"sandbox/columnar", "sandbox/egress", "sandbox/egress/scan", "sandbox/egress/mark", "sandbox/egress/model", "sandbox/egress/noise", "sandbox/release", "attest/sm", "attest/sm/group", "sandbox/batch", "sandbox/classify", "sandbox/quality", "desensitize", "desensitize/generalize", "desensitize/redact", "desensitize/mask",
		"desensitize/token", "desensitize/noise", "mpc/share", "mpc/agg", "mpc/join", "mpc/psi", "mpc/psi/lookup", "sandbox/algo/reduce"}
	owner := map[string]string{ // import prefix → the only folder that may name it
		"github.com/emmansun/gmsm":                 "attest/sm",
		"github.com/tjfoc/gmsm":                    "attest/sm",
		"github.com/google/differential-privacy":   "sandbox/egress/noise",
		"gonum.org":                                "sandbox/egress/model",
		"github.com/transparency-dev":              "attest/tlog",
		"github.com/pingcap":                       "sandbox/query/sql",
		"github.com/tuneinsight":                   "mpc/he",
		"modernc.org/sqlite":                       "sandbox/store",
		"github.com/pressly/goose":                 "sandbox/store",
		"database/sql":                             "sandbox/store",
		"github.com/prometheus":                    "sandbox/api",
		"github.com/spf13/cobra":                   "cmd/opdomain",
		"github.com/hashicorp":                     "sandbox/jail",
		"github.com/elastic/go-seccomp-bpf":        "sandbox/jail",
		"github.com/tetratelabs/wazero":            "sandbox/jail",
		"golang.org/x/crypto":                      "attest/keys",
		"crypto/aes":                               "mpc/share", // a stated generator of randomness between two parties; it protects no stored or sent byte
		"crypto/rsa":                               "nowhere",
		"crypto/ecdsa":                             "attest/sm", // the library's key type
		"crypto/sha256":                            "nowhere",
		"crypto/sha512":                            "nowhere",
		"crypto/sha1":                              "nowhere",
		"crypto/md5":                               "nowhere",
		"github.com/apache/arrow/go/v17/parquet":   "connectors/file/parse/child", // in the jail only
		"github.com/apache/arrow/go/v17/arrow/ipc": "connectors/file/parse/child", // likewise; and in benchmarks, as the peer that is measured
	}
	for _, p := range packages(t) {
		name, _ := local(p.ImportPath)
		if name == "sandbox/sandboxtest" { // tests alone import it, as the lattice holds
			continue
		}
		for _, imp := range p.Imports {
			if slices.Contains(pure, name) && slices.Contains(leak, imp) {
				t.Errorf("%s computes on values and must not import %s", name, imp)
			}
			for prefix, home := range owner {
				if (imp == prefix || strings.HasPrefix(imp, prefix+"/")) && name != home && !strings.HasPrefix(name, home+"/") && !(prefix == "github.com/apache/arrow/go/v17/arrow/ipc" && strings.HasPrefix(name, "benchmarks")) {
					t.Errorf("%s imports %s; only %s may", name, imp, home)
				}
			}
			if (imp == "math/rand" || imp == "math/rand/v2") && !strings.HasPrefix(name, "benchmarks") {
				t.Errorf("%s imports %s; randomness is passed in", name, imp)
			}
		}
	}
}

// TestNames rejects folders that say nothing, top-level folders outside the plan, and files grown too long.
func TestNames(t *testing.T) {
	top := []string{"sandbox", "mpc", "desensitize", "connectors", "attest", "cmd", "benchmarks", "deploy"}
	empty := []string{"util", "utils", "common", "helper", "helpers", "misc", "base", "types"}
	for _, p := range packages(t) {
		name, _ := local(p.ImportPath)
		parts := strings.Split(name, "/")
		if !slices.Contains(top, parts[0]) {
			t.Errorf("%s: top-level folders are %v", name, top)
		}
		for _, part := range parts {
			if slices.Contains(empty, part) {
				t.Errorf("%s: the name %q says nothing", name, part)
			}
		}
		for _, f := range p.GoFiles {
			b, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(b), "\n"); n > 600 && !strings.Contains(f, ".gen.") {
				t.Errorf("%s/%s has %d lines; find the noun that wants its own file", name, f, n)
			}
		}
	}
}

// TestPackageDocs wants a package comment of more than a title on every package.
func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		name, _ := local(p.ImportPath)
		var text string
		for _, f := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			text += file.Doc.Text()
		}
		if len(text) < 120 {
			t.Errorf("%s: the package doc has %d characters", name, len(text))
		}
	}
}

// TestGlossary wants the regulation's own Chinese term in the doc of every exported type, so that go doc is the
// bilingual glossary (中英对照).
func TestGlossary(t *testing.T) {
	types := 0
	for _, p := range packages(t) {
		name, _ := local(p.ImportPath)
		if p.Name == "main" {
			continue
		}
		for _, f := range p.GoFiles {
			if strings.Contains(f, ".gen.") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.TYPE {
					continue
				}
				for _, s := range g.Specs {
					ts := s.(*ast.TypeSpec)
					if !ts.Name.IsExported() {
						continue
					}
					types++
					doc := ts.Doc.Text()
					if len(g.Specs) == 1 {
						doc += g.Doc.Text()
					}
					if !strings.ContainsFunc(doc, func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
						t.Errorf("%s/%s: type %s has no Chinese term in its doc", name, f, ts.Name.Name)
					}
				}
			}
		}
	}
	if types < 60 {
		t.Errorf("only %d exported types were read", types)
	}
}

// TestReadme holds the README to its length, its two commands and a package table that is true.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	if n := strings.Count(text, "\n"); n >= 150 {
		t.Errorf("README.md has %d lines", n)
	}
	for _, cmd := range []string{"go run ./cmd/opdomain demo", "go test ./..."} {
		if !strings.Contains(text, cmd) {
			t.Errorf("README.md does not name %q", cmd)
		}
	}
	exist := map[string]bool{}
	for _, p := range packages(t) {
		name, _ := local(p.ImportPath)
		exist[name] = true
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`((?:sandbox|attest|connectors|cmd|benchmarks|desensitize|mpc)(?:/[a-z0-9-]+)*)`").FindAllStringSubmatch(text, -1) {
		named[m[1]] = true
		if !exist[m[1]] {
			t.Errorf("README.md names package %s, which does not exist", m[1])
		}
	}
	for name := range exist {
		if !named[name] {
			t.Errorf("README.md's table lacks package %s", name)
		}
	}
}

// TestModuleFile refuses replace directives and wants the reason of each direct dependency beside it.
func TestModuleFile(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	if strings.Contains(text, "\nreplace") {
		t.Error("go.mod has a replace directive")
	}
	for _, named := range []string{"github.com/tjfoc/gmsm", "github.com/emmansun/gmsm", "github.com/apache/arrow/go/v17", "github.com/prometheus/client_golang"} {
		if !strings.Contains(text, "\t"+named+" v") {
			t.Errorf("go.mod lacks %s", named)
		}
	}
	block, _, _ := strings.Cut(text[strings.Index(text, "require ("):], "\n)")
	for line := range strings.Lines(block) {
		if strings.HasPrefix(line, "\t") && !strings.HasPrefix(strings.TrimSpace(line), "//") && !strings.Contains(line, "// ") {
			t.Errorf("go.mod gives no reason for %s", strings.TrimSpace(line))
		}
	}
}
