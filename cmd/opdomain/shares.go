package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	shares "github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/node"
)

// sharesFile (多方计算配置文件) is what serve --shares reads: with whom the domain computes over shares, under which model, and where. There is
// no default and no switch beside it.
type sharesFile struct {
	Version   int              `json:"version"` // 1
	Adversary shares.Adversary `json:"adversary"`
	Generator shares.Generator `json:"generator"`
	Seconds   int              `json:"seconds"`       // a run's deadline
	Valid     int64            `json:"valid_seconds"` // how long a plan may be approved and joined
	Domain    sharesDomain     `json:"domain"`
	Zones     []sharesZone     `json:"zones"` // two
	Outside   []sharesOutside  `json:"outside"`
}

// sharesDomain is the domain's own party; its key is the domain's, its owner's key is the enrolled one.
type sharesDomain struct {
	Party        sandbox.PartyID    `json:"party"`
	Role         string             `json:"role"`
	Organisation sandbox.PartyID    `json:"organisation"` // the agency's party
	Owner        sandbox.IdentityID `json:"owner"`        // an officer of it
	Address      string             `json:"address"`      // under which the zones reach it
	Listen       string             `json:"listen"`       // while a run is made
}

type sharesZone struct {
	Party        sandbox.PartyID    `json:"party"`
	Role         string             `json:"role"`
	Organisation sandbox.PartyID    `json:"organisation"`
	Key          string             `json:"key"` // hex, as opdomain-party key prints it
	Owner        sandbox.IdentityID `json:"owner"`
	OwnerKey     string             `json:"owner_key"`
	Address      string             `json:"address"`
}

type sharesOutside struct {
	Dataset    sandbox.DatasetID `json:"dataset"`
	Zone       sandbox.PartyID   `json:"zone,omitempty"`
	UnitKey    string            `json:"unit_key,omitempty"` // instead of zone: hex, of the unit that pushes shares of its rows
	Version    uint64            `json:"version"`
	Rows       int               `json:"rows"`
	SubjectKey string            `json:"subject_key"` // file of 64 hex digits, beside this one
}

const maxSharesFile = 64 << 10

// readShares reads and checks a configuration: known fields, each once, and what node.Shares.Check holds. An error names file, field and rule.
func readShares(path string) (*sharesFile, *node.Shares, error) {
	bad := func(kind sandbox.Kind, field, rule, hint string) error {
		return &sandbox.Error{Op: "shares", Kind: kind, Object: path + " " + field, Detail: rule, Hint: hint}
	}
	b, err := readGuarded(path, "", maxSharesFile, 0o022) // it names who computes with whom
	if err != nil {
		return nil, nil, err
	}
	var f sharesFile
	if at, err := strictly(b, &f); err != nil {
		return nil, nil, bad(sandbox.Invalid, fmt.Sprintf("near byte %d", at), "one JSON object with the fields of the sample, each of its type", "opdomain mpc config sample")
	}
	if name := repeated(b); name != "" {
		return nil, nil, bad(sandbox.Invalid, name, "a field stands once in its object", "")
	}
	switch {
	case f.Version != 1:
		return nil, nil, bad(sandbox.Invalid, "version", "version 1", "opdomain mpc config sample")
	case len(f.Zones) != 2:
		return nil, nil, bad(sandbox.Invalid, "zones", "two, beside the domain", "")
	}
	s := &node.Shares{Adversary: f.Adversary, Generator: f.Generator, Seconds: f.Seconds, Valid: time.Duration(min(max(f.Valid, 0), 1<<32)) * time.Second, Clock: time.Now,
		Self:    mpc.Party{ID: f.Domain.Party, Role: f.Domain.Role, Organisation: f.Domain.Organisation, Owner: f.Domain.Owner},
		Outside: map[sandbox.DatasetID]node.Beyond{}}
	addresses := []string{f.Domain.Address}
	if !reachable(f.Domain.Listen) {
		return nil, nil, bad(sandbox.Invalid, "domain listen", "host:port, the host said: the domain listens there while a run is made", "")
	}
	for i, z := range f.Zones {
		at := "zone " + string(z.Party)
		p := mpc.Party{ID: z.Party, Role: z.Role, Organisation: z.Organisation, Owner: z.Owner}
		for _, k := range []struct {
			field, text string
			to          *[]byte
		}{{"key", z.Key, &p.Key}, {"owner_key", z.OwnerKey, &p.OwnerKey}} {
			if *k.to, err = hex.DecodeString(k.text); err == nil {
				_, err = sm.ParseVerifyKey(*k.to)
			}
			if err != nil {
				return nil, nil, bad(sandbox.Invalid, at+" "+k.field, "a point of the SM2 curve in hex, as opdomain-party key prints it", "")
			}
		}
		s.Zones[i] = p
		addresses = append(addresses, z.Address)
	}
	for i, a := range addresses {
		if !reachable(a) {
			return nil, nil, bad(sandbox.Invalid, []string{"domain address", "zones 1 address", "zones 2 address"}[i], "host:port under which the others reach it", "")
		}
	}
	keys := map[sandbox.DatasetID]string{}
	for _, o := range f.Outside {
		if _, ok := s.Outside[o.Dataset]; ok {
			return nil, nil, bad(sandbox.Invalid, "outside "+string(o.Dataset), "a dataset stands once", "")
		}
		unit, err := hex.DecodeString(o.UnitKey)
		if err != nil {
			return nil, nil, bad(sandbox.Invalid, "outside "+string(o.Dataset)+" unit_key", "a point of the SM2 curve in hex, as opdomain-party key prints it", "")
		}
		s.Outside[o.Dataset] = node.Beyond{Zone: o.Zone, Unit: unit, Version: o.Version, Rows: o.Rows}
		if o.SubjectKey == "" {
			return nil, nil, bad(sandbox.Invalid, "outside "+string(o.Dataset)+" subject_key", "a file with the key that its owner and the domain's unit exchanged", "")
		}
		keys[o.Dataset] = o.SubjectKey
		if !filepath.IsAbs(o.SubjectKey) {
			keys[o.Dataset] = filepath.Join(filepath.Dir(path), o.SubjectKey)
		}
	}
	s.Reach = func() (wire.Transport, func() error, error) { // for one run: between runs nobody listens
		t, err := wire.ListenTCP(f.Domain.Listen)
		if err != nil {
			return nil, nil, err
		}
		t.Reach(addresses)
		return t, t.Close, nil
	}
	s.SubjectKey = func(d sandbox.DatasetID) ([]byte, error) { return subjectKey(path, d, keys[d]) }
	if err := s.Check(); err != nil {
		return nil, nil, inShares(path, err)
	}
	for _, o := range f.Outside {
		if _, err := s.SubjectKey(o.Dataset); err != nil {
			return nil, nil, err
		}
	}
	return &f, s, nil
}

// inShares names the file in an error about what it says.
func inShares(path string, err error) error {
	var e *sandbox.Error
	if path == "" || !errors.As(err, &e) || e.Op != "shares" || strings.HasPrefix(e.Object, path) {
		return err
	}
	named := *e
	named.Object = path + " " + e.Object
	return &named
}

// subjectKey reads the owners' key of a dataset's pseudonyms, when it is checked and again for each run.
func subjectKey(config string, d sandbox.DatasetID, path string) ([]byte, error) {
	b, err := readGuarded(path, config+" outside "+string(d)+" subject_key ", 4096, 0o077)
	if err != nil {
		return nil, err
	}
	k, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(k) != 32 {
		return nil, &sandbox.Error{Op: "shares", Kind: sandbox.Invalid, Object: config + " outside " + string(d) + " subject_key " + path, Detail: "64 hex digits"}
	}
	return k, nil
}

// readGuarded reads a small regular file of which others have none of the rights in may; at stands before its name in errors.
func readGuarded(path, at string, most int64, may fs.FileMode) ([]byte, error) {
	fail := func(kind sandbox.Kind, rule, hint string) error {
		return &sandbox.Error{Op: "shares", Kind: kind, Object: at + path, Detail: rule, Hint: hint}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(sandbox.NotFound, "a file that can be read", "")
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil || !info.Mode().IsRegular() || info.Size() > most:
		return nil, fail(sandbox.Invalid, fmt.Sprintf("a regular file of at most %d bytes", most), "")
	case info.Mode().Perm()&may&othersMay(path) != 0 && may&0o044 != 0:
		return nil, fail(sandbox.Denied, "others may read it or write to it", "chmod 600 "+path)
	case info.Mode().Perm()&may != 0 && may&0o044 == 0:
		return nil, fail(sandbox.Denied, "others may write to it", "chmod go-w "+path)
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, fail(sandbox.Unavailable, "the file cannot be read", "")
	}
	return b, nil
}

// reachable says whether an address names host and port.
func reachable(a string) bool {
	host, port, err := net.SplitHostPort(a)
	return err == nil && host != "" && port != "" && port != "0" && len(a) <= 256
}

// repeated names a field that stands twice in one object, of a text that is JSON.
func repeated(b []byte) string {
	dec := json.NewDecoder(bytes.NewReader(b))
	type level struct {
		names map[string]bool // nil: a list
		value bool            // a name was read
	}
	var at []level
	for {
		t, err := dec.Token()
		if err != nil {
			return ""
		}
		top := len(at) - 1
		if d, ok := t.(json.Delim); ok {
			if d == '}' || d == ']' {
				at = at[:top]
				continue
			}
			if top >= 0 {
				at[top].value = false
			}
			l := level{}
			if d == '{' {
				l.names = map[string]bool{}
			}
			at = append(at, l)
			continue
		}
		if top < 0 || at[top].names == nil {
			continue
		}
		if at[top].value {
			at[top].value = false
			continue
		}
		name, _ := t.(string)
		if name = strings.ToLower(name); at[top].names[name] { // as decoding takes them
			return name
		}
		at[top].names[name], at[top].value = true, true
	}
}

// print says with whom the domain computes over shares.
func (f *sharesFile) print(w io.Writer) {
	fmt.Fprintf(w, "computing over shares 多方计算: model %s, generator %s, a run within %d s, a plan valid for %s\n", f.Adversary, f.Generator, f.Seconds, time.Duration(f.Valid)*time.Second)
	fmt.Fprintf(w, "  %s (%s) of %s, approved by %s: this domain; it listens at %s while a run is made\n", f.Domain.Party, f.Domain.Role, f.Domain.Organisation, f.Domain.Owner, f.Domain.Listen)
	for _, z := range f.Zones {
		fmt.Fprintf(w, "  %s (%s) of %s, approved by %s, at %s\n", z.Party, z.Role, z.Organisation, z.Owner, z.Address)
	}
	for _, o := range f.Outside {
		stays := "stays with " + string(o.Zone)
		if o.Zone == "" {
			stays = "stays with its unit, which pushes shares for each question"
		}
		fmt.Fprintf(w, "  dataset %s %s: version %d, up to %d rows\n", o.Dataset, stays, o.Version, o.Rows)
	}
	p := mpc.Plan{Adversary: f.Adversary, Parties: []mpc.Party{{ID: f.Domain.Party, Role: f.Domain.Role, Organisation: f.Domain.Organisation}}, Outputs: []mpc.Output{{Recipient: f.Domain.Party}}}
	for _, z := range f.Zones {
		p.Parties = append(p.Parties, mpc.Party{ID: z.Party, Role: z.Role, Organisation: z.Organisation})
	}
	fmt.Fprintf(w, "  %s\n", p.Collusion())
}

// printZones says, once the domain serves, with whom it computes.
func (a *app) printZones(w io.Writer) {
	if a.zones != nil {
		a.zones.print(w)
	}
}

// sampleShares gives a configuration that passes, with keys of nobody's.
func (a *app) sampleShares() (*sharesFile, error) {
	f := &sharesFile{Version: 1, Adversary: shares.MaliciousAbort, Generator: shares.AESGenerator, Seconds: 600, Valid: 7 * 24 * 3600,
		Domain: sharesDomain{Party: "domain-zone", Role: "agency", Organisation: "agency", Owner: "agency", Address: "192.0.2.1:9471", Listen: "192.0.2.1:9471"},
		Zones: []sharesZone{{Party: "bank-zone", Role: "bank", Organisation: "bank", Owner: "bank-owner", Address: "192.0.2.2:9471"},
			{Party: "custodian-zone", Role: "custodian", Organisation: "custodian", Owner: "custodian-owner", Address: "192.0.2.3:9471"}},
		Outside: []sharesOutside{{Dataset: "ds-loans", Zone: "bank-zone", Version: 1, Rows: 1024, SubjectKey: "ds-loans.subject-key"}}}
	for i := range f.Zones {
		for _, to := range []*string{&f.Zones[i].Key, &f.Zones[i].OwnerKey} {
			k, err := sm.NewSigningKey(a.rand)
			if err != nil {
				return nil, err
			}
			*to = hex.EncodeToString(k.Public().Bytes())
		}
	}
	return f, nil
}

func (a *app) sharesConfigCommand() *cobra.Command {
	sample := verb("sample", "Print a worked configuration, with keys of nobody's in the places of yours", cobra.NoArgs, func(*cobra.Command, []string) error {
		f, err := a.sampleShares()
		if err != nil {
			return err
		}
		return a.show(f, nil)
	})
	check := verb("check FILE", "Check a configuration, but for what depends on the domain", cobra.ExactArgs(1), func(_ *cobra.Command, args []string) error {
		f, _, err := readShares(args[0])
		if err != nil {
			return err
		}
		return a.show(f, f.print)
	})
	c := group("config", "The file of serve --shares (多方计算配置)", sample, check)
	c.Long = c.Short + `.

  adversary      semi-honest, or malicious with abort: the model of every plan, printed on each result; no switch weakens it
  generator      aes-128-ctr, or sm4-ctr
  seconds        a run's deadline, 1 to 86400
  valid_seconds  how long a plan may be approved and joined
  domain         the domain's own party: organisation is the agency's party, owner an officer of it, whose enrolled key approvals verify under;
                 address is what the zones dial, listen is bound while a run is made and at no other time
  zones          the two others, of other organisations: key and owner_key as opdomain-party key prints them
  outside        registered datasets whose rows a zone keeps, or a unit pushes as shares: version from 1, as its owner counts, rows 1024, 4096 … 1048576;
                 up to 4096 a question of people, counts and sums by one grouping of each of two tables is a join, any other is an inquiry;
                 subject_key is a file of 64 hex digits, nobody else's to read, that the dataset's owner has as well and the third zone has not.
                 The zone's party runs with --ledger and --ledger-key, folder and key file of its own: nobody else compares its table with earlier ones.
                 Of a join it brings --table, a CSV of group, subject and measures; of an inquiry --source, a CSV of the described columns: each as
                 DATASET@VERSION=FILE, which says which version the file is, and is refused where the question is over another.
                 Instead of zone, unit_key: the key, as opdomain-party key prints it, of a unit that is no party and pushes shares of its rows to all
                 three, for each question anew. Such a dataset is the first one of an inquiry; subject_key is what its unit has as well. The unit runs
                 opdomain-party push with --ledger and --ledger-key, which compare its rows with those it pushed before: nobody else ever sees them`
	return c
}
