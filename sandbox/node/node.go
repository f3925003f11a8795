package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/fleet"
	"github.com/opdomain/opdomain/sandbox/ingest"
	"github.com/opdomain/opdomain/sandbox/jail"
	"github.com/opdomain/opdomain/sandbox/jail/record"
	"github.com/opdomain/opdomain/sandbox/profile"
	"github.com/opdomain/opdomain/sandbox/store"
	"github.com/opdomain/opdomain/sandbox/vault"
	"github.com/opdomain/opdomain/sandbox/workflow"
)

// Config (域配置) says how a domain is opened. Every field is required but Device, Witnesses, Steady, Space and Jail.
type Config struct {
	Dir        string
	Passphrase []byte
	// Device opens the device that holds the domain's key-encrypting keys; nil for the passphrase's file.
	Device func() (keys.Device, error)
	// Witnesses are asked beside those the domain knows itself: kept outside its folder, they still know when it was put back
	// to a time before it had any.
	Witnesses []Witness
	Now       func() time.Time
	// Steady gives the time passed since some moment by a clock that nobody sets; nil: a host clock set forward is not seen.
	Steady func() time.Duration
	// Space tells what is left of the disk, of which vault.Reserve is kept from pushes and views; nil: they may fill it.
	Space   durable.Space
	Rand    io.Reader
	Metrics *api.Metrics
	// Workers compute questions in processes that hold no key but those of the columns asked for; nil: goroutines of this process do.
	Workers *fleet.Processes
	// Shares says with whom questions are computed over shares; nil: with nobody.
	Shares *Shares
	// Models bound the work of one model; zeros: as ModelLimits says.
	Models ModelLimits
	// Recorder starts images of algorithms, each in a process of its own; nil: none can be approved.
	Recorder record.Recorder
	// Algorithms bound the runs of foreign code; zeros: as AlgorithmLimits says.
	Algorithms AlgorithmLimits
	// Jail starts plug-ins, and is closed by who opened it; nil: none is started.
	Jail *jail.Launcher
	// Sums bound what sums over ciphertexts take; zeros: as SumLimits says.
	Sums SumLimits
	// Engines start the engines of sums over ciphertexts; nil: in the jail, or not at all.
	Engines Engines
}

// Founding (设立要素) is what init decides once: it is signed into the first events of the log.
type Founding struct {
	Domain   string // name of the domain, an identifier
	Hosting  sandbox.Hosting
	District string // profile name
	Keys     keys.Params
	Enrolled []api.Enrolment // the agency first, then the parties it admits at the start
}

// description is domain.json: public, checked against the log's first event at open.
type description struct {
	Format   int             `json:"format"`
	Domain   string          `json:"domain"`
	Hosting  sandbox.Hosting `json:"hosting"`
	District string          `json:"district"`
}

const (
	descriptionFile = "domain.json"
	calendarFile    = "calendar.json" // optional: every year the domain needs, in the form of the shipped calendar
	domainIdentity  = sandbox.IdentityID("domain")
)

// Node (域节点) is an open domain.
type Node struct {
	cfg      Config
	desc     description
	keys     *keys.Vault
	vault    *vault.Vault
	store    *store.Store
	evidence *attest.Recorder
	profile  profile.Profile
	calendar *workflow.Calendar
	subjects *ingest.Pseudonymizer
	viewKey  *keys.Key // of tokens and draws in views, by labels of their own
	intake   *ingest.Intake
	ledger   *egress.Ledger
	sums     sums // over ciphertexts
	joints   joints
	scoring  sync.Mutex
	sharing  sharing
	// populations are the ledger's sealed entries; questionKey makes question ids.
	populations *populations
	questionKey []byte
	protection  *protection // of numbers that leave
	mem         memory.Allocator
	lock        *os.File
	docs        collections
	index       *catalog.Index // of every card
	indexing    sync.Mutex     // a reading of the store and its entry in the index

	publish     sync.Mutex
	published   string // checkpoint
	publishedAt time.Time

	asking   sync.Mutex        // one question computes at a time, so that each is compared with every other
	mu       sync.Mutex        // serialises changes of state; reads of the store need no lock
	logged   []attest.Prepared // in the log, still in the outbox
	unlogged []attest.Prepared // in the outbox, not in the log

	who          identities
	latest       atomic.Int64 // newest time seen, in nanoseconds of Unix
	opened       time.Time    // by the host's clock
	openedSteady time.Duration
	witnessing   sync.Mutex
	witnessed    atomic.Uint64 // entries a quorum of witnesses has signed for
	confirming   sync.Mutex
	admitting    atomic.Int32 // waits, takesOn or admits
	forked       atomic.Pointer[sandbox.Error]
	backing      sync.Mutex   // one backup at a time
	erasing      sync.RWMutex // of evidence, against who reads the whole log
	certifying   sync.Mutex   // of the domain's authority
	destroying   sync.Mutex   // of version keys

	queueMu sync.Mutex
	queue   []*waiting // changes nobody runs yet

	jailMu      sync.Mutex
	jailTried   time.Time
	jailAttacks int

	startMap func(ctx context.Context, tier jail.Tier, image []byte, digest [sm.Size]byte, lim jail.Limits) (startedMap, error) // of tests; nil: the jail

	streamMu sync.Mutex
	streams  map[sandbox.RunID]*streaming // openings that wait for frames, or whose frames are coming
}

// Create makes a domain in a folder that holds none; see Vacant.
func Create(ctx context.Context, cfg Config, f Founding) (*Node, error) {
	if err := sandbox.CheckID("domain", f.Domain); err != nil {
		return nil, err
	}
	if f.Hosting != sandbox.P1 && f.Hosting != sandbox.P2 {
		return nil, &sandbox.Error{Op: "init", Kind: sandbox.Invalid, Object: "hosting", Detail: "P1 (agency-hosted) or P2 (operator-hosted)"}
	}
	if _, err := profile.Load(f.District); err != nil {
		return nil, err
	}
	if len(f.Enrolled) == 0 || f.Enrolled[0].Party.Role != sandbox.Agency {
		return nil, &sandbox.Error{Op: "init", Kind: sandbox.Invalid, Object: "parties", Detail: "the first party of a domain is its agency"}
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, "keys")); err == nil {
		return nil, &sandbox.Error{Op: "init", Kind: sandbox.Conflict, Object: cfg.Dir, Detail: "the folder holds a domain already"}
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, &sandbox.Error{Op: "init", Kind: sandbox.Unavailable, Object: cfg.Dir, Err: err}
	}
	k, err := cfg.createKeys(f.Keys)
	if err != nil {
		return nil, err
	}
	k.Close()
	d := description{Format: 1, Domain: f.Domain, Hosting: f.Hosting, District: f.District}
	n, err := open(ctx, cfg, d, true)
	if err != nil {
		return nil, err
	}
	n.admitting.Store(admits) // nobody has witnessed a new one
	if err := n.found(ctx, f); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	// Written last: a folder without it is not a domain, so a crash during init leaves nothing that opens.
	if err := durable.Replace(filepath.Join(cfg.Dir, descriptionFile), append(b, '\n')); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (c Config) createKeys(p keys.Params) (*keys.Vault, error) {
	dir := filepath.Join(c.Dir, "keys")
	if c.Device == nil {
		return keys.Create(dir, c.Passphrase, p, c.Rand)
	}
	d, err := c.Device()
	if err != nil {
		return nil, err
	}
	return keys.CreateVault(keys.Config{Dir: dir, Rand: c.Rand, Device: d, VersionKEKs: d.Describe().Erases})
}

func (c Config) openKeys() (*keys.Vault, error) {
	dir := filepath.Join(c.Dir, "keys")
	if c.Device == nil {
		return keys.Open(dir, c.Passphrase, c.Rand)
	}
	d, err := c.Device()
	if err != nil {
		return nil, err
	}
	return keys.OpenVault(keys.Config{Dir: dir, Rand: c.Rand, Device: d, VersionKEKs: d.Describe().Erases})
}

// Vacant says whether a folder is free for a new domain: absent or empty.
func Vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &sandbox.Error{Op: "init", Kind: sandbox.Unavailable, Object: dir, Err: err}
	}
	if len(entries) > 0 {
		return &sandbox.Error{Op: "init", Kind: sandbox.Conflict, Object: dir, Detail: "the folder is not empty",
			Hint: "name a new folder; a domain is never made over another"}
	}
	return nil
}

// Holds says whether a folder holds a domain.
func Holds(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, descriptionFile)); err != nil {
		return &sandbox.Error{Op: "open", Kind: sandbox.NotFound, Object: dir, Detail: "the folder holds no domain", Hint: "opdomain init --dir " + dir}
	}
	return nil
}

// Open opens the domain in a folder: wrong passphrase, tampered keys, log, store or vault heads are named errors.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	if err := Holds(cfg.Dir); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(cfg.Dir, descriptionFile))
	if err != nil {
		return nil, &sandbox.Error{Op: "open", Kind: sandbox.Unavailable, Object: cfg.Dir, Err: err}
	}
	var d description
	if err := strictJSON(b, &d); err != nil || d.Format != 1 {
		return nil, &sandbox.Error{Op: "open", Kind: sandbox.Tampered, Object: descriptionFile, Detail: "format 1, known fields only"}
	}
	n, err := open(ctx, cfg, d, false)
	if err != nil {
		return nil, err
	}
	if err := n.recover(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if err := n.checkShares(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func open(ctx context.Context, cfg Config, d description, create bool) (n *Node, err error) {
	n = &Node{cfg: cfg, desc: d, mem: memory.NewGoAllocator(), streams: map[sandbox.RunID]*streaming{}, index: catalog.NewIndex(), opened: cfg.Now()}
	if cfg.Steady != nil {
		n.openedSteady = cfg.Steady()
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
			n = nil
		}
	}()
	if n.lock, err = lockFolder(cfg.Dir); err != nil {
		return n, err
	}
	if n.profile, err = profile.Load(d.District); err != nil {
		return n, err
	}
	if n.calendar, err = calendar(cfg.Dir); err != nil {
		return n, err
	}
	if n.keys, err = cfg.openKeys(); err != nil {
		return n, err
	}
	secret := func(name string, size int) []byte {
		if err != nil {
			return nil
		}
		// A secret that is lost is not replaced by a new one: other pseudonyms would look like other people.
		path := filepath.Join(cfg.Dir, "keys", "secret-"+name+".key")
		if _, serr := os.Stat(path); serr != nil && !create {
			err = &sandbox.Error{Op: "open", Kind: sandbox.Tampered, Object: filepath.Base(path), Detail: "a key of the domain is missing", Hint: "restore it from a backup"}
			return nil
		}
		var k *keys.Key
		if k, err = n.keys.Secret(name); err != nil {
			return nil
		}
		var b []byte
		b, err = k.Derive(size, "opdomain", d.Domain, name)
		return b
	}
	storeKey := secret("store", sm.KeySize)
	secret(audienceSecret(attest.IndexAudience), sm.KeySize)
	subjectKey, ledgerKey, popKey := secret("pseudonym", sm.Size), secret("ledger", sm.Size), secret("population", sm.Size)
	n.questionKey = secret("question", sm.Size)
	if err == nil {
		n.viewKey, err = n.keys.Secret("pseudonym") // the same secret: it is kept and lost with the data whose views it makes
	}
	if err != nil {
		return n, err
	}
	n.subjects = ingest.NewPseudonymizer(subjectKey)
	if n.ledger, err = egress.NewLedger(ledgerKey); err != nil {
		return n, err
	}
	if n.protection, err = openProtection(n.profile.Privacy, ledgerKey); err != nil {
		return n, err
	}
	if n.populations, err = openPopulations(filepath.Join(cfg.Dir, "ledger"), popKey, cfg.Rand); err != nil {
		return n, err
	}
	if n.vault, err = vault.OpenConfig(vault.Config{Dir: filepath.Join(cfg.Dir, "vault"), Keys: n.keys, Rand: cfg.Rand, Space: cfg.Space}); err != nil {
		return n, err
	}
	if n.store, err = store.Open(ctx, filepath.Join(cfg.Dir, "domain.db"), storeKey, cfg.Rand); err != nil {
		return n, err
	}
	n.docs = newCollections(n.store)
	lc := tlog.Config{Dir: filepath.Join(cfg.Dir, "log"), Origin: "opdomain/" + d.Domain, Key: n.keys.SigningKey(), Rand: cfg.Rand}
	var log *tlog.Log
	if create {
		log, err = tlog.Create(lc)
	} else {
		log, err = tlog.Open(lc)
	}
	if err != nil {
		return n, err
	}
	if n.evidence, err = attest.NewRecorder(log, n.keys.SigningKey(), audienceKeys{n.keys, d.Domain}, cfg.Rand); err != nil {
		return n, errors.Join(err, log.Close())
	}
	n.intake, err = ingest.New(ingest.Config{Limits: pushLimits, Now: cfg.Now}, n.mem, n.vault, n.subjects)
	return n, err
}

// found writes the first events: the domain, then the parties it starts with.
func (n *Node) found(ctx context.Context, f Founding) error {
	return n.change(ctx, domainIdentity, func(ctx context.Context, tx *change) error {
		tx.record(attest.DomainCreated, "domain/"+f.Domain, attest.DomainCreatedBody{Domain: f.Domain, Hosting: f.Hosting, District: f.District,
			SignKey: n.keys.SigningKey().Public().Bytes(), EncryptKey: n.keys.DecryptKey().Public().Bytes()}, agency, everyone)
		for _, e := range f.Enrolled {
			if err := n.enrol(ctx, tx, e); err != nil {
				return err
			}
		}
		return n.keepRules(ctx, rulesRecord{Rules: classify.Current(), Detectors: classify.Version})
	})
}

// calendar reads the domain's own working-day calendar, if it has one, else the shipped one. The yearly holiday notice
// comes out in autumn; a domain takes it up by a file, not by a new program.
func calendar(dir string) (*workflow.Calendar, error) {
	b, err := os.ReadFile(filepath.Join(dir, calendarFile))
	if errors.Is(err, os.ErrNotExist) {
		return workflow.Official()
	}
	if err != nil {
		return nil, &sandbox.Error{Op: "open", Kind: sandbox.Unavailable, Object: calendarFile, Err: err}
	}
	return workflow.ParseCalendar(b)
}

// founded holds domain.json to the first event of the log: hosting and district decide what may be opened, so they are not
// a setting that a file's editor can change.
func (n *Node) founded() error {
	first, err := n.evidence.Event(0)
	if err != nil {
		return err
	}
	var b attest.DomainCreatedBody
	if err := strictJSON(first.Event.Body, &b); err != nil {
		return err
	}
	if first.Event.Kind != attest.DomainCreated || b.Domain != n.desc.Domain || b.Hosting != n.desc.Hosting || b.District != n.desc.District ||
		!bytes.Equal(b.SignKey, n.keys.SigningKey().Public().Bytes()) {
		return &sandbox.Error{Op: "open", Kind: sandbox.Tampered, Object: descriptionFile, Detail: "it is not what the domain was founded as", Hint: "restore the file; the log's first event says what it held"}
	}
	return nil
}

// Close stops using the folder. It waits for the change in progress.
func (n *Node) Close() error {
	n.sharing.close()
	n.joints.close()
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	if n.store != nil {
		errs = append(errs, n.tidy(context.Background()))
	}
	errs = append(errs, n.sums.close())
	if n.evidence != nil {
		errs = append(errs, n.evidence.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	if n.keys != nil {
		n.keys.Close()
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Close())
	}
	return errors.Join(errs...)
}

// lockFolder takes the folder's lock, or says that another process serves it. The lock goes with the process.
func lockFolder(dir string) (*os.File, error) {
	f, err := durable.Lock(dir)
	if errors.Is(err, durable.ErrLocked) {
		return nil, &sandbox.Error{Op: "open", Kind: sandbox.Conflict, Object: dir, Detail: "another process serves this domain",
			Hint: "stop it first, or talk to it with --server"}
	}
	if err != nil {
		return nil, &sandbox.Error{Op: "open", Kind: sandbox.Unavailable, Object: dir, Err: err}
	}
	return f, nil
}

// calendarCovers says whether the domain's calendar reaches beyond every due date of a scenario filed at t.
func (n *Node) calendarCovers(t time.Time) bool {
	_, err := n.calendar.AddWorkingDays(t, longestDue)
	return err == nil
}

// longestDue is more working days than any due date lies ahead.
const longestDue = 16

// CalendarCovers says whether the shipped working-day calendar reaches far enough beyond t for every due date a scenario
// filed then can have.
func CalendarCovers(t time.Time) bool {
	c, err := workflow.Official()
	if err != nil {
		return false
	}
	_, err = c.AddWorkingDays(t, longestDue)
	return err == nil
}
