package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/opdomain/opdomain/benchmarks/datagen"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/node"
)

// demoOptions are the flags of the demo.
type demoOptions struct {
	data, mapName, keep, district string
	persons                       int
	seed                          uint64
}

func (a *app) demoCommand() *cobra.Command {
	var o demoOptions
	c := verb("demo", "Play the whole job end to end: push, grant, question, review, release, consent, bill, proof (演示)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return a.demo(c.Context(), o)
	})
	c.Long = c.Short + `.

Without --data a seeded generator makes a district's tables in a temporary folder. With --data the same story is played on
your own CSV tables; --map says which file and column is what (shipped maps: ` + strings.Join(shippedNames(), ", ") + `; or a file of the same
form). Everything goes through the public HTTP interface on loopback, signed, as it would in production.`
	f := c.Flags()
	f.StringVar(&o.data, "data", "", "folder of your own CSV tables")
	f.StringVar(&o.mapName, "map", "", "shipped map or map file; default: the shipped map whose tables are all in --data")
	f.StringVar(&o.keep, "keep", "", "leave the domain and its evidence bundle (story.bundle) in this new folder")
	f.StringVar(&o.district, "district", "longhua", "rules of the district: longhua, futian, guangming")
	f.IntVar(&o.persons, "persons", datagen.DefaultPersons, "people of the generated tables, 1000 or more")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the generated tables")
	return c
}

// summary is what a demo ends with.
type summary struct {
	Title     string            `json:"title"`
	Domain    string            `json:"domain"`
	District  string            `json:"district"`
	Hosting   sandbox.Hosting   `json:"hosting"`
	Datasets  []api.PushReport  `json:"datasets"`
	Grants    []sandbox.GrantID `json:"grants"`
	Answers   []summaryAnswer   `json:"answers"`
	Refusals  []summaryRefusal  `json:"refusals"`
	Claims    []summaryClaim    `json:"claims"`
	Invoices  []summaryInvoice  `json:"invoices"`
	Evidence  summaryEvidence   `json:"evidence"`
	Kept      string            `json:"kept,omitempty"`
	Bundle    string            `json:"bundle,omitempty"`
	StoryDate string            `json:"story_date,omitempty"`
	Seconds   float64           `json:"seconds"`
}

type summaryAnswer struct {
	Question   sandbox.QuestionID `json:"question"`
	Name       string             `json:"name"`
	State      string             `json:"state"`
	Published  int                `json:"published"`
	Suppressed int                `json:"suppressed"`
}

type summaryRefusal struct {
	Asked   string           `json:"asked"`
	Code    string           `json:"code,omitempty"`     // what the asker sees of a data-dependent one
	Reasons []sandbox.Reason `json:"reasons,omitempty"`  // what the asker sees before data
	Inside  string           `json:"reviewer,omitempty"` // what reviewers and owners see
}

type summaryClaim struct {
	When   string `json:"when"`
	Code   string `json:"code,omitempty"`
	Fields int    `json:"fields,omitempty"`
}

type summaryInvoice struct {
	Party sandbox.PartyID `json:"party"`
	Total string          `json:"total_yuan"`
	Lines int             `json:"lines"`
}

type summaryEvidence struct {
	Entries     uint64 `json:"entries"`
	Fingerprint string `json:"fingerprint"`
	Accepted    bool   `json:"accepted"`
	Tampered    string `json:"after_one_changed_byte"`
}

// play is one run of the demo.
type play struct {
	*app
	opts     demoOptions
	story    *story
	data     string // folder of the tables
	dir      string // folder of the domain
	server   string
	info     api.DomainInfo
	people   map[sandbox.IdentityID]*identity
	sessions map[sandbox.IdentityID]*session
	patient  person
	step     int
	tty      bool
	sum      summary
}

func (a *app) demo(ctx context.Context, o demoOptions) (err error) {
	began := time.Now()
	p := &play{app: a, opts: o, sessions: map[sandbox.IdentityID]*session{}}
	if f, ok := a.out.(*os.File); ok && !a.json {
		p.tty = term.IsTerminal(int(f.Fd()))
	}
	work, err := os.MkdirTemp("", "opdomain-demo-")
	if err != nil {
		return &sandbox.Error{Op: "demo", Kind: sandbox.Unavailable, Object: "temporary folder", Err: err}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := p.prepare(work); err != nil {
		return err
	}
	passphrase, err := p.choosePassphrase()
	if err != nil {
		return err
	}
	p.storyClock()
	if p.opts.data == "" {
		if err := p.generate(work); err != nil {
			return err
		}
	}
	m := api.NewMetrics()
	n, err := p.begin(ctx, passphrase, m)
	if err != nil {
		return err
	}
	v, err := a.listen(ctx, n, address{listen: "127.0.0.1:0"}, slog.New(slog.DiscardHandler), m)
	if err != nil {
		return errors.Join(err, n.Close())
	}
	p.server = v.addr
	err = p.play(ctx)
	if err = errors.Join(err, v.close(), n.Close()); err != nil {
		return err
	}
	p.sum.Seconds = float64(time.Since(began).Milliseconds()) / 1000
	return p.show(p.sum, p.closing)
}

// prepare finds map and folders and fails before anything is made.
func (p *play) prepare(work string) error {
	name := p.opts.mapName
	if p.opts.data == "" {
		if name == "" {
			name = "district"
		}
		p.data = filepath.Join(work, "tables")
	} else {
		p.data = p.opts.data
	}
	if p.opts.data != "" {
		if err := isFolder(p.data); err != nil {
			return err
		}
	}
	if name == "" {
		var missing []error
		for _, candidate := range shippedNames() {
			s, err := loadStory(candidate)
			if err != nil {
				return err
			}
			if err := s.find(p.data); err == nil {
				name = candidate
				break
			} else {
				missing = append(missing, err)
			}
		}
		if name == "" {
			var wants []string
			for _, err := range missing {
				wants = append(wants, err.Error())
			}
			return invalid("--map", "no shipped map fits the folder: "+strings.Join(wants, "; "), "write one: opdomain source example > my.json, then --map my.json")
		}
	}
	var err error
	if p.story, err = loadStory(name); err != nil {
		return err
	}
	if p.opts.data != "" {
		if err := p.story.find(p.data); err != nil {
			return err
		}
	}
	p.dir = filepath.Join(work, "domain")
	if p.opts.keep != "" {
		p.dir = p.opts.keep
		return node.Vacant(p.dir)
	}
	return nil
}

// choosePassphrase takes the user's, or draws one; a kept domain's lies beside its folder, never inside.
func (p *play) choosePassphrase() ([]byte, error) {
	if p.passphrase != "" || os.Getenv("OPDOMAIN_PASSPHRASE") != "" {
		return p.newPassphraseFor(p.dir)
	}
	var b [16]byte
	if _, err := io.ReadFull(p.rand, b[:]); err != nil {
		return nil, err
	}
	text := []byte(hex.EncodeToString(b[:]))
	if p.opts.keep == "" {
		return text, nil
	}
	path := filepath.Clean(p.dir) + ".passphrase"
	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return nil, &sandbox.Error{Op: "demo", Kind: sandbox.Unavailable, Object: path, Err: err}
	}
	return text, nil
}

// storyClock plays the story on the real clock while the shipped working-day calendar covers its due dates, else from a
// day it does cover: a domain never guesses a holiday.
func (p *play) storyClock() {
	start := time.Now()
	if node.CalendarCovers(start) {
		return
	}
	day := time.Date(2026, 3, 2, 9, 0, 0, 0, start.Location())
	p.now = func() time.Time { return day.Add(time.Since(start)) }
	p.sum.StoryDate = day.Format(time.DateOnly)
}

func (p *play) generate(work string) error {
	p.say("生成模拟数据 · generating a district's tables (%d people, seed %d)", p.opts.persons, p.opts.seed)
	if err := os.MkdirAll(p.data, 0o700); err != nil {
		return &sandbox.Error{Op: "demo", Kind: sandbox.Unavailable, Object: work, Err: err}
	}
	_, err := datagen.Generate(p.data, datagen.Options{Persons: p.opts.persons, Seed: p.opts.seed})
	return err
}

// begin makes the domain. Its identities get the passphrase's cheaper derivation: they live as long as the demo, and
// those of a kept domain are for looking around.
func (p *play) begin(ctx context.Context, passphrase []byte, m *api.Metrics) (*node.Node, error) {
	p.head("建立授权运营域 · make the domain")
	n, people, err := p.found(ctx, founding{dir: p.dir, domain: "demo", district: p.opts.district, hosting: sandbox.P1, units: p.story.Units, keys: newKeys}, passphrase, m)
	if err != nil {
		return nil, err
	}
	p.people = people
	p.info, err = n.Domain(ctx)
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	p.sum.Title, p.sum.Domain, p.sum.District, p.sum.Hosting = p.story.Title, p.info.Domain, p.info.District, p.info.Hosting
	p.say("实施机构托管 (P1), 规则: %s · %d SM2 identities, signing and encryption keys apart", p.info.District, len(people))
	p.say("域签名公钥 · domain signing key, SM3 %s", fingerprint(p.info.SignKey))
	return n, nil
}

// play is the story, one call per step, each through the public interface.
func (p *play) play(ctx context.Context) error {
	for _, step := range []func(context.Context) error{p.enrolAndPush, p.grants, p.questions, p.claims, p.refusals, p.account, p.prove} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// as gives the session of an identity.
func (p *play) by(id sandbox.IdentityID) (*session, error) {
	if s := p.sessions[id]; s != nil {
		return s, nil
	}
	who := p.people[id]
	if who == nil {
		return nil, &sandbox.Error{Op: "demo", Kind: sandbox.Internal, Object: string(id), Detail: "no such identity in the story"}
	}
	s, err := newSession(p.server, who, p.now, p.rand)
	p.sessions[id] = s
	return s, err
}

func (p *play) head(format string, args ...any) {
	p.step++
	if !p.json {
		fmt.Fprintf(p.out, "\n[%d/8] "+format+"\n", append([]any{p.step}, args...)...)
	}
}

func (p *play) say(format string, args ...any) {
	if !p.json {
		fmt.Fprintf(p.out, "      "+format+"\n", args...)
	}
}

// progress shows a running count on a terminal.
func (p *play) progress(what string) func(int64) {
	return func(rows int64) {
		if p.tty {
			fmt.Fprintf(p.out, "      %s … %d\r", what, rows)
		}
	}
}

// unexpected says that the domain did not do what the story is about: the demo fails rather than telling it anyway.
func unexpected(step, want string) error {
	return &sandbox.Error{Op: "demo", Kind: sandbox.Internal, Object: step, Detail: "expected: " + want}
}
