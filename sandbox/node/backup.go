package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// contextBackup is what the domain signs a backup's list of files under.
const contextBackup = "opdomain/backup/v1"

const (
	backupList    = "backup.list" // JSON lines: head, files, signature; written last
	backupPartial = ".partial"
	storeFile     = "domain.db"
)

// backed are the parts of a domain's folder that a backup holds. Keys are not among them: a key that is destroyed must not
// come back out of a data backup; they have a backup of their own, in shares.
var backed = []string{descriptionFile, calendarFile, "log", "ledger", "vault"}

// BackupReport (备份报告) says what a backup holds.
type BackupReport struct {
	Path   string    `json:"path"`
	Domain string    `json:"domain"`
	Taken  time.Time `json:"taken"`
	Size   uint64    `json:"size"` // entries of the log
	Files  int       `json:"files"`
	Bytes  int64     `json:"bytes"`
	Copied int64     `json:"copied"` // bytes that an earlier backup beside it did not have
}

// backupHead and backupFile are the lines of a backup's list; the last line is the signature over those before it.
type backupHead struct {
	Format     int       `json:"format"`
	Domain     string    `json:"domain"`
	Taken      time.Time `json:"taken"`
	Size       uint64    `json:"size"`
	Checkpoint string    `json:"checkpoint"`
	Files      int       `json:"files"`
}

type backupFile struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	Sum  []byte `json:"sum"` // SM3
}

type backupEnd struct {
	Signature []byte `json:"signature"`
}

// Backup copies the running domain into a new folder under to, named by the time. Files that the newest backup there has
// already are linked, not copied. Changes wait only while what changed during the copy is copied again. A backup without
// its signed list is none; a failed one leaves no trace but a folder that the next one replaces.
func (n *Node) Backup(ctx context.Context, to string) (BackupReport, error) {
	if inside(n.cfg.Dir, to) {
		return BackupReport{}, &sandbox.Error{Op: "backup", Kind: sandbox.Invalid, Object: to, Detail: "a backup stands outside the domain's folder", Hint: "name a folder on another disk"}
	}
	n.backing.Lock()
	defer n.backing.Unlock()
	b := &backup{n: n, top: to, dir: filepath.Join(to, backupPartial), have: map[string]copied{}}
	if err := b.begin(); err != nil {
		return BackupReport{}, err
	}
	rep, err := b.take(ctx)
	if err != nil {
		return BackupReport{}, errors.Join(err, os.RemoveAll(b.dir))
	}
	return rep, nil
}

// inside says whether path is dir or below it.
func inside(dir, path string) bool {
	a, aerr := filepath.Abs(dir)
	b, berr := filepath.Abs(path)
	if aerr != nil || berr != nil {
		return true
	}
	rel, err := filepath.Rel(a, b)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

type copied struct {
	size int64
	mod  time.Time
	sum  []byte
}

type backup struct {
	n        *Node
	top, dir string
	last     map[string]backupFile // of the newest backup beside this one
	lastDir  string
	have     map[string]copied // by path, what is in dir
	fresh    int64
}

func (b *backup) fail(object string, err error) error {
	return &sandbox.Error{Op: "backup", Kind: sandbox.Unavailable, Object: object, Detail: "the backup was not made; the domain is unharmed", Err: err}
}

func (b *backup) begin() error {
	if err := os.MkdirAll(b.top, 0o700); err != nil {
		return b.fail(b.top, err)
	}
	if err := os.RemoveAll(b.dir); err != nil {
		return b.fail(b.top, err)
	}
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		return b.fail(b.top, err)
	}
	all, err := Backups(b.top)
	if err != nil {
		return err
	}
	b.last = map[string]backupFile{}
	for _, name := range slices.Backward(all) {
		dir := filepath.Join(b.top, name)
		if _, files, err := readBackup(dir, b.n.keys.SigningKey().Public()); err == nil {
			b.lastDir = dir
			for _, f := range files {
				b.last[f.Path] = f
			}
			break // an unreadable one is of no use here; restore names what is wrong with it
		}
	}
	return nil
}

// Backups lists the finished backups in a folder, oldest first.
func Backups(top string) ([]string, error) {
	entries, err := os.ReadDir(top)
	if err != nil {
		return nil, &sandbox.Error{Op: "backup", Kind: sandbox.Unavailable, Object: top, Err: err}
	}
	var out []string
	for _, e := range entries {
		if _, err := time.Parse(backupName, e.Name()); err == nil && e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

const backupName = "20060102T150405.000Z"

// take copies twice: without a lock, then under it what has changed meanwhile.
func (b *backup) take(ctx context.Context) (BackupReport, error) {
	n := b.n
	if err := b.copyAll(ctx); err != nil {
		return BackupReport{}, err
	}
	head, err := b.still(ctx)
	if err != nil {
		return BackupReport{}, err
	}
	head.Files = len(b.have)
	rep := BackupReport{Domain: head.Domain, Taken: head.Taken, Size: head.Size, Files: head.Files, Copied: b.fresh}
	if err := b.list(head, &rep); err != nil {
		return BackupReport{}, err
	}
	rep.Path = filepath.Join(b.top, head.Taken.Format(backupName))
	if _, err := os.Lstat(rep.Path); err == nil {
		return BackupReport{}, &sandbox.Error{Op: "backup", Kind: sandbox.Conflict, Object: rep.Path, Detail: "a backup of this moment exists"}
	}
	if err := os.Rename(b.dir, rep.Path); err != nil {
		return BackupReport{}, b.fail(b.top, err)
	}
	if err := durable.SyncDir(b.top); err != nil {
		return BackupReport{}, b.fail(b.top, err)
	}
	n.cfg.Metrics.Job("backup", "done")
	return rep, nil
}

// still brings the copy to one moment: no change of state and no commit of a version happens while it runs.
func (b *backup) still(ctx context.Context) (backupHead, error) {
	n := b.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.drain(ctx); err != nil {
		return backupHead{}, err
	}
	if err := n.tidy(ctx); err != nil {
		return backupHead{}, err
	}
	defer n.vault.Freeze()()
	if err := b.copyAll(ctx); err != nil {
		return backupHead{}, err
	}
	path := filepath.Join(b.dir, storeFile)
	if err := n.store.Backup(ctx, path); err != nil {
		return backupHead{}, err
	}
	sum, size, err := digest(path)
	if err != nil {
		return backupHead{}, b.fail(storeFile, err)
	}
	b.have[storeFile] = copied{size: size, sum: sum}
	b.fresh += size
	cp := n.evidence.Log().Checkpoint()
	return backupHead{Format: 1, Domain: n.desc.Domain, Taken: n.now().UTC().Truncate(time.Millisecond), Size: cp.Size, Checkpoint: cp.String()}, nil
}

// copyAll copies every file that the copy does not have as it is now, and drops what is gone.
func (b *backup) copyAll(ctx context.Context) error {
	there := map[string]bool{storeFile: true}
	for _, part := range backed {
		root := filepath.Join(b.n.cfg.Dir, part)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // removed while we look: a stage, or a part this domain does not have
				return nil
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			name := d.Name()
			if strings.HasPrefix(name, "stage-") || strings.HasSuffix(name, ".tmp") {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			rel, err := filepath.Rel(b.n.cfg.Dir, path)
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			there[rel] = true
			if c, ok := b.have[rel]; ok && c.size == info.Size() && c.mod.Equal(info.ModTime()) {
				return nil
			}
			err = b.copy(rel, info)
			if errors.Is(err, fs.ErrNotExist) {
				delete(there, rel)
				return nil
			}
			return err
		})
		if err != nil {
			return b.fail(part, err)
		}
	}
	for rel := range b.have {
		if !there[rel] {
			if err := os.Remove(filepath.Join(b.dir, rel)); err != nil {
				return b.fail(rel, err)
			}
			delete(b.have, rel)
		}
	}
	return nil
}

// copy brings one file over: a link to the last backup's when size and time say it is the same, else its bytes.
func (b *backup) copy(rel string, info fs.FileInfo) error {
	from, to := filepath.Join(b.n.cfg.Dir, rel), filepath.Join(b.dir, rel)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old, ok := b.last[rel]; ok && old.Size == info.Size() {
		path := filepath.Join(b.lastDir, rel)
		if was, err := os.Lstat(path); err == nil && was.Size() == info.Size() && was.ModTime().Equal(info.ModTime()) && os.Link(path, to) == nil {
			b.have[rel] = copied{info.Size(), info.ModTime(), old.Sum}
			return nil
		}
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	h := sm.NewHash()
	size, err := io.Copy(io.MultiWriter(out, h), in)
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chtimes(to, info.ModTime(), info.ModTime())
	}
	if err != nil {
		return err
	}
	b.fresh += size
	b.have[rel] = copied{size, info.ModTime(), h.Sum(nil)}
	return nil
}

// list writes the signed list, and syncs every folder.
func (b *backup) list(head backupHead, rep *BackupReport) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	if err := enc.Encode(head); err != nil {
		return b.fail(backupList, err)
	}
	names := make([]string, 0, len(b.have))
	dirs := map[string]bool{b.dir: true}
	for rel := range b.have {
		names = append(names, rel)
		dirs[filepath.Dir(filepath.Join(b.dir, rel))] = true
	}
	slices.Sort(names)
	for _, rel := range names {
		c := b.have[rel]
		rep.Bytes += c.size
		if err := enc.Encode(backupFile{filepath.ToSlash(rel), c.size, c.sum}); err != nil {
			return b.fail(backupList, err)
		}
	}
	sum := sm.Sum(text.Bytes())
	sig, err := b.n.keys.SigningKey().Sign(b.n.cfg.Rand, contextBackup, sum[:])
	if err != nil {
		return err
	}
	if err := enc.Encode(backupEnd{sig}); err != nil {
		return b.fail(backupList, err)
	}
	for dir := range dirs {
		if err := durable.SyncDir(dir); err != nil {
			return b.fail(backupList, err)
		}
	}
	if err := durable.Replace(filepath.Join(b.dir, backupList), text.Bytes()); err != nil {
		return b.fail(backupList, err)
	}
	return nil
}

func digest(path string) ([]byte, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	h := sm.NewHash()
	n, err := io.Copy(h, f)
	return h.Sum(nil), n, err
}

// readBackup reads a backup's list and checks its signature; the files themselves are checked as they are restored.
func readBackup(dir string, key *sm.VerifyKey) (backupHead, []backupFile, error) {
	bad := func(detail string) (backupHead, []backupFile, error) {
		return backupHead{}, nil, &sandbox.Error{Op: "restore", Kind: sandbox.Tampered, Object: backupList, Detail: detail, Hint: "use another backup"}
	}
	text, err := os.ReadFile(filepath.Join(dir, backupList))
	if err != nil {
		return backupHead{}, nil, &sandbox.Error{Op: "restore", Kind: sandbox.NotFound, Object: dir, Detail: "no finished backup in this folder", Hint: "name the folder of one backup, e.g. TO/20260302T090000.000Z"}
	}
	end := bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n') + 1
	var sig backupEnd
	if end == 0 || strictJSON(text[end:], &sig) != nil {
		return bad("the list has no signature")
	}
	sum := sm.Sum(text[:end])
	if key.Verify(contextBackup, sum[:], sig.Signature) != nil {
		return bad("the list was changed, or another domain's keys are given")
	}
	lines := bufio.NewScanner(bytes.NewReader(text[:end]))
	var head backupHead
	if !lines.Scan() || strictJSON(lines.Bytes(), &head) != nil || head.Format != 1 {
		return bad("a head of format 1")
	}
	var files []backupFile
	for lines.Scan() {
		var f backupFile
		if strictJSON(lines.Bytes(), &f) != nil || !fs.ValidPath(f.Path) {
			return bad(fmt.Sprintf("line %d is not a file of the domain", len(files)+2))
		}
		files = append(files, f)
	}
	if lines.Err() != nil || len(files) != head.Files {
		return bad("not every file is listed")
	}
	return head, files, nil
}

// restoredFile stands in a restored folder until the domain has recorded that it goes on from a backup.
const restoredFile = "restored.json"

type restoration struct {
	Taken time.Time `json:"taken"`
	Size  uint64    `json:"size"`
}

// sayRestored records, once, that the domain goes on from a backup. Its witnesses have let it by then.
func (n *Node) sayRestored(ctx context.Context) error {
	path := filepath.Join(n.cfg.Dir, restoredFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var r restoration
	if err != nil || strictJSON(b, &r) != nil {
		return &sandbox.Error{Op: "open", Kind: sandbox.Tampered, Object: restoredFile, Detail: "not what a restore writes", Hint: "restore again"}
	}
	err = n.change(ctx, domainIdentity, func(ctx context.Context, tx *change) error {
		fresh, err := n.docs.restored.Once(ctx, fmt.Sprintf("%d", r.Taken.UnixNano()), "", "restored", r)
		if err != nil || !fresh {
			return err
		}
		tx.record(attest.DomainRestored, "domain/"+n.desc.Domain, attest.DomainRestoredBody{Taken: r.Taken, Size: r.Size}, agency, everyone)
		return nil
	})
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return &sandbox.Error{Op: "open", Kind: sandbox.Unavailable, Object: restoredFile, Err: err}
	}
	return nil
}

// Restore brings a backup into a new folder, whose keys stand there already: every file is held to the signed list, and
// the description that makes the folder a domain is written last. Whether it may be served is decided when it is opened: a
// domain whose witnesses have seen more than the backup holds stays closed until their parties let it go on from there
// (witness.Readmit). Once open, it records that it was restored.
func Restore(ctx context.Context, from, dir string, key *sm.VerifyKey) (BackupReport, error) {
	head, files, err := readBackup(from, key)
	if err != nil {
		return BackupReport{}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return BackupReport{}, &sandbox.Error{Op: "restore", Kind: sandbox.Unavailable, Object: dir, Err: err}
	}
	for _, e := range entries {
		if e.Name() != "keys" {
			return BackupReport{}, &sandbox.Error{Op: "restore", Kind: sandbox.Conflict, Object: dir, Detail: "the folder holds more than keys", Hint: "restore into a new folder"}
		}
	}
	rep := BackupReport{Path: dir, Domain: head.Domain, Taken: head.Taken, Size: head.Size, Files: head.Files}
	// domain.json sorts among the files but comes last.
	slices.SortStableFunc(files, func(a, b backupFile) int {
		return btoi(a.Path == descriptionFile) - btoi(b.Path == descriptionFile)
	})
	// What the domain says of itself when it next opens; before domain.json, which makes the folder one.
	b, err := json.Marshal(restoration{head.Taken, head.Size})
	if err == nil {
		err = durable.Replace(filepath.Join(dir, restoredFile), b)
	}
	if err != nil {
		return rep, &sandbox.Error{Op: "restore", Kind: sandbox.Unavailable, Object: restoredFile, Err: err}
	}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return rep, err
		}
		if err := restoreFile(from, dir, f); err != nil {
			return rep, err
		}
		rep.Bytes += f.Size
	}
	return rep, durable.SyncDir(dir)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func restoreFile(from, dir string, f backupFile) error {
	rel := filepath.FromSlash(f.Path)
	to := filepath.Join(dir, rel)
	in, err := os.Open(filepath.Join(from, rel))
	if err != nil {
		return &sandbox.Error{Op: "restore", Kind: sandbox.Tampered, Object: f.Path, Detail: "the backup lacks this file", Hint: "use another backup"}
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return &sandbox.Error{Op: "restore", Kind: sandbox.Unavailable, Object: f.Path, Err: err}
	}
	out, err := os.OpenFile(to+".tmp", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return &sandbox.Error{Op: "restore", Kind: sandbox.Unavailable, Object: f.Path, Err: err}
	}
	h := sm.NewHash()
	size, err := io.Copy(io.MultiWriter(out, h), in)
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil && (size != f.Size || !bytes.Equal(h.Sum(nil), f.Sum)) {
		return &sandbox.Error{Op: "restore", Kind: sandbox.Tampered, Object: f.Path, Detail: "the file is not the one that was backed up", Hint: "use another backup"}
	}
	if err == nil {
		err = os.Rename(to+".tmp", to)
	}
	if err == nil {
		err = durable.SyncDir(filepath.Dir(to))
	}
	if err != nil {
		return &sandbox.Error{Op: "restore", Kind: sandbox.Unavailable, Object: f.Path, Err: err}
	}
	return nil
}
