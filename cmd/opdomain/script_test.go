package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opdomain/opdomain/benchmarks/datagen"
	"github.com/opdomain/opdomain/sandbox/jail"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// TestMain lets scripts run the command line as a process of its own.
func TestMain(m *testing.M) {
	jail.Enter()
	testscript.Main(m, map[string]func(){"opdomain": func() {
		newKeys = cheap // hundreds of commands open folders that protect nothing
		main()
	}})
}

// tierW is the command line as it is installed, static and where the jail's users can start it, and whether this machine has tier W.
var tierW = sync.OnceValues(func() (bool, error) {
	if err := os.MkdirAll(filepath.Dir(tierWPath), 0o755); err != nil {
		return false, err
	}
	build := exec.Command("go", "build", "-o", tierWPath, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return false, fmt.Errorf("%w\n%s", err, out)
	}
	l, err := jail.New(jail.Config{Program: tierWPath})
	if err != nil {
		return false, err
	}
	defer l.Close()
	return len(l.Probe().Missing(jail.W)) == 0, nil // layers of the kernel cannot be installed: without them scripts skip aloud, as the jail's tests do
})

var tierWPath = filepath.Join(os.TempDir(), fmt.Sprintf("opdomain-jailed-%d", os.Getpid()), "opdomain")

// TestScripts plays testdata/script, which reads as a manual of the command line.
func TestScripts(t *testing.T) {
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(tierWPath)) })
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			var listeners []net.Listener // open together, so that the addresses differ
			for _, name := range []string{"ADDR", "ADDR1", "ADDR2", "ADDR3"} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				listeners = append(listeners, l)
				e.Setenv(name, l.Addr().String())
			}
			for _, l := range listeners {
				if err := l.Close(); err != nil {
					return err
				}
			}
			e.Setenv("OPDOMAIN_PASSPHRASE", "script passphrase")
			e.Setenv("OPDOMAIN_DATA", os.Getenv("OPDOMAIN_DATA"))
			// What algorithms are built with: this checkout, and the caches of whoever runs the tests.
			root, err := filepath.Abs(filepath.Join("..", ".."))
			if err != nil {
				return err
			}
			e.Setenv("REPO", root)
			e.Setenv("JAILED", tierWPath)
			for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB"} {
				v, err := exec.Command("go", "env", name).Output()
				if err != nil {
					return err
				}
				e.Setenv(name, strings.TrimSpace(string(v)))
			}
			_, err = datagen.Generate(filepath.Join(e.WorkDir, "tables"), datagen.Options{Persons: 1000, Seed: 3})
			return err
		},
		// [softhsm]: SoftHSM is here; $MODULE is its library, $SOFTHSM2_CONF its own folder with a token "domain" of PIN 246813.
		// [jail]: the machine has the layers of tier T1, in which foreign code runs.
		// [tier-w]: this machine has the layers of tier W, and $JAILED is the command line that starts plug-ins in it.
		// [synthea], [adult]: OPDOMAIN_DATA names a folder that holds them.
		Condition: func(cond string) (bool, error) {
			if cond == "synthea" || cond == "adult" {
				root := os.Getenv("OPDOMAIN_DATA")
				_, err := os.Stat(filepath.Join(root, cond))
				if (root == "" || err != nil) && os.Getenv("OPDOMAIN_REQUIRE") == "all" {
					return false, fmt.Errorf("OPDOMAIN_DATA names no folder with %s, and OPDOMAIN_REQUIRE=all", cond)
				}
				return root != "" && err == nil, nil
			}
			if cond == "jail" {
				return confines()
			}
			if cond == "tier-w" { // then $JAILED is there
				return tierW()
			}
			if cond != "softhsm" {
				return false, fmt.Errorf("no condition %s", cond)
			}
			_, module := softHSM()
			if module == "" && os.Getenv("OPDOMAIN_REQUIRE") == "all" {
				return false, errors.New("SoftHSM is absent and OPDOMAIN_REQUIRE=all: apt-get install softhsm2")
			}
			return module != "", nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// listening ADDR waits until something accepts connections there.
			"listening": func(ts *testscript.TestScript, _ bool, args []string) {
				ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
				defer stop()
				for range 400 {
					c, err := net.DialTimeout("tcp", args[0], time.Second)
					if err == nil {
						_ = c.Close()
						return
					}
					if sleep(ctx, 25*time.Millisecond) != nil {
						break
					}
				}
				ts.Fatalf("nothing listens at %s", args[0])
			},
			// eventually [--shows TEXT] COMMAND... repeats a command until it succeeds, and its output has the text.
			"eventually": func(ts *testscript.TestScript, _ bool, args []string) {
				ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
				defer stop()
				text := ""
				if args[0] == "--shows" {
					text, args = args[1], args[2:]
				}
				for range 100 {
					if ts.Exec(args[0], args[1:]...) == nil && strings.Contains(ts.ReadFile("stdout"), text) {
						return
					}
					if sleep(ctx, 200*time.Millisecond) != nil {
						break
					}
				}
				ts.Fatalf("%s never succeeds", args[0])
			},
			// writes FILE NAME puts a file's one line into an environment variable.
			"writes": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Setenv(args[1], strings.TrimSpace(ts.ReadFile(args[0])))
			},
			// identify FILE NAME puts the file's first word, which is what was made, into an environment variable.
			"identify": func(ts *testscript.TestScript, _ bool, args []string) {
				word, _, _ := strings.Cut(ts.ReadFile(args[0]), " ")
				ts.Setenv(args[1], word)
			},
			// field FILE KEY NAME puts the text of the last "KEY" of a JSON file into an environment variable.
			"field": func(ts *testscript.TestScript, _ bool, args []string) {
				all := regexp.MustCompile(`"`+regexp.QuoteMeta(args[1])+`": "([^"]*)"`).FindAllStringSubmatch(ts.ReadFile(args[0]), -1)
				if len(all) == 0 {
					ts.Fatalf("%s has no field %s", args[0], args[1])
				}
				ts.Setenv(args[2], all[len(all)-1][1])
			},
			// digest FILE NAME puts the last 64 hex digits of a file into an environment variable.
			"digest": func(ts *testscript.TestScript, _ bool, args []string) {
				all := regexp.MustCompile(`\b[0-9a-f]{64}\b`).FindAllString(ts.ReadFile(args[0]), -1)
				if len(all) == 0 {
					ts.Fatalf("%s has no digest", args[0])
				}
				ts.Setenv(args[1], all[len(all)-1])
			},
			"granted": granted, "patients": patients, "firms": firms, "fees": fees, "lists": lists, "alike": alike,
			"visits": visits, "lent": lent,
			"leaked":  leaked,
			"plainly": plainly, "mutated": mutated,
			"stays": stays, "modelled": modelled, "halfway": halfway, "strangersKey": strangersKey, "releasesOf": releasesOf,
			// patient puts the person of the tables whom the demo enrols, and the number of a claim of theirs, into PATIENT and CLAIM.
			"patient": func(ts *testscript.TestScript, _ bool, args []string) {
				s, err := loadStory("district")
				ts.Check(err)
				p, err := s.findPatient(context.Background(), ts.MkAbs(args[0]))
				ts.Check(err)
				ts.Setenv("PATIENT", p.id)
				ts.Setenv("CLAIM", p.claim)
			},
			// filled FILE... puts environment variables in the place of their ${NAME}.
			"filled": func(ts *testscript.TestScript, _ bool, args []string) {
				for _, f := range args {
					ts.Check(os.WriteFile(ts.MkAbs(f), []byte(os.Expand(ts.ReadFile(f), ts.Getenv)), 0o600))
				}
			},
			// token makes a PKCS#11 token in the script's folder.
			"token": func(ts *testscript.TestScript, _ bool, _ []string) {
				tool, module := softHSM()
				conf, tokens := ts.MkAbs("softhsm.conf"), ts.MkAbs("tokens")
				ts.Check(os.Mkdir(tokens, 0o700))
				ts.Check(os.WriteFile(conf, []byte("directories.tokendir = "+tokens+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600))
				ts.Setenv("SOFTHSM2_CONF", conf)
				ts.Setenv("MODULE", module)
				ts.Check(ts.Exec(tool, "--init-token", "--free", "--label", "domain", "--so-pin", "13572468", "--pin", "246813"))
			},
			// real NAME puts the folder of real tables and a map of them into $TABLES and $MAP.
			"real": func(ts *testscript.TestScript, _ bool, args []string) {
				tables, mapped, err := realData(os.Getenv("OPDOMAIN_DATA"), args[0], ts.MkAbs("."))
				ts.Check(err)
				ts.Setenv("TABLES", tables)
				ts.Setenv("MAP", mapped)
			},
			// released DIR UNIT NAME... has reviewers of a unit and of the agency vote for the questions that were asked into NAME.asked,
			// and opens what is released, into NAME.json. $NAME is then the release.
			"released": func(ts *testscript.TestScript, _ bool, args []string) {
				run := func(as string, words ...string) string {
					ts.Check(ts.Exec("opdomain", append([]string{ts.Getenv("AT"), "--as=" + args[0] + "/identities/" + as}, words...)...))
					return ts.ReadFile("stdout")
				}
				asked := map[string]string{}
				for _, name := range args[2:] {
					q, state, _ := strings.Cut(strings.TrimSpace(ts.ReadFile(name+".asked")), "  ")
					if state != "in-review" {
						ts.Fatalf("%s is %s", name, state)
					}
					run(args[1]+"-reviewer", "egress", "vote", q)
					run("agency-reviewer", "egress", "vote", q)
					asked[q] = name
				}
				opened := 0
				for line := range strings.Lines(run("operator", "release", "list")) {
					f := strings.Fields(line) // RELEASE class A of QUESTION for …
					if len(f) < 5 || asked[f[4]] == "" {
						continue
					}
					ts.Setenv(asked[f[4]], f[0])
					ts.Check(os.WriteFile(ts.MkAbs(asked[f[4]]+".json"), []byte(run("operator", "release", "open", "--json", f[0])), 0o600))
					opened++
				}
				if opened < len(asked) {
					ts.Fatalf("%d of %d are released", opened, len(asked))
				}
			},
			// true DATA FOLDER NAME... holds released results against a plain computation over the folder's tables.
			"true": func(ts *testscript.TestScript, neg bool, args []string) {
				for _, name := range args[2:] {
					err := compareTruth(args[0]+"/"+name, ts.MkAbs(args[1]), []byte(ts.ReadFile(name+".json")))
					if neg && err == nil {
						ts.Fatalf("%s is true", name)
					}
					if !neg {
						ts.Check(err)
					}
				}
			},
			// newest DIR NAME puts the path of the folder's last entry into an environment variable.
			"newest": func(ts *testscript.TestScript, _ bool, args []string) {
				entries, err := os.ReadDir(ts.MkAbs(args[0]))
				if err != nil || len(entries) == 0 {
					ts.Fatalf("%s holds nothing: %v", args[0], err)
				}
				ts.Setenv(args[1], filepath.Join(ts.MkAbs(args[0]), entries[len(entries)-1].Name()))
			},
			// edit FILE PATTERN TEXT puts a text in the place of what a regular expression finds.
			"edit": func(ts *testscript.TestScript, _ bool, args []string) {
				b, found := ts.ReadFile(args[0]), regexp.MustCompile(args[1])
				if !found.MatchString(b) {
					ts.Fatalf("%s has nothing to edit", args[0])
				}
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(found.ReplaceAllString(b, args[2])), 0o600))
			},
			// flipped FILE changes one bit in the middle of a file.
			"flipped": func(ts *testscript.TestScript, _ bool, args []string) {
				b := []byte(ts.ReadFile(args[0]))
				b[len(b)/2] ^= 1
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
			},
		},
	})
}

// softHSM finds SoftHSM's tool and library; "" for none.
func softHSM() (tool, module string) {
	tool, err := exec.LookPath("softhsm2-util")
	if err != nil {
		return "", ""
	}
	for _, p := range []string{os.Getenv("SOFTHSM2_MODULE"), "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(p); p != "" && err == nil {
			return tool, p
		}
	}
	return "", ""
}

// TestStoryOnRealClaims plays the story on real claims that nobody here wrote.
func TestStoryOnRealClaims(t *testing.T) {
	dir := sandboxtest.Data(t, "synthea", "the story on real claims was not played")
	code, out, errOut := opdomain(t, "demo", "--data", dir)
	if code != 0 {
		t.Fatalf("exit %d\n%s\n%s", code, out, errOut)
	}
	for _, want := range []string{"22 groups, 22 suppressed", "2 groups, 0 suppressed", "answer.withheld", "ACCEPTED", "REJECTED"} {
		if !strings.Contains(out, want) {
			t.Errorf("the story lacks %q", want)
		}
	}
}
