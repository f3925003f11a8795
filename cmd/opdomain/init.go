package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/doctor"
	"github.com/opdomain/opdomain/sandbox/node"
	"github.com/opdomain/opdomain/sandbox/profile"
)

// founding is what init needs to know.
type founding struct {
	dir, domain, district string
	hosting               sandbox.Hosting
	units                 []storyUnit
	keys                  keys.Params
	device                deviceSetup // of its key-encrypting keys; none when it names no module
	identities            []byte      // passphrase of the identities' folders; nil for the domain's
}

// defaultUnits are the source units a domain starts with when none is named.
var defaultUnits = []storyUnit{{ID: "unit-medical", Name: "医疗保障数源单位"}, {ID: "unit-population", Name: "人口信息数源单位"}}

// roster lists the parties a domain starts with, the agency first, with the duties of their identities.
func (f founding) roster() []api.Enrolment {
	officer := func(id string) sandbox.Identity {
		return sandbox.Identity{ID: sandbox.IdentityID(id), Party: sandbox.PartyID(id), Duty: sandbox.Officer}
	}
	reviewer := func(id string) sandbox.Identity {
		return sandbox.Identity{ID: sandbox.IdentityID(id + "-reviewer"), Party: sandbox.PartyID(id), Duty: sandbox.Reviewer}
	}
	out := []api.Enrolment{
		{Party: sandbox.Party{ID: "agency", Role: sandbox.Agency, Name: "实施机构"}, Identities: []sandbox.Identity{officer("agency"), reviewer("agency"),
			{ID: "agency-appeals", Party: "agency", Duty: sandbox.Reviewer}}},
		{Party: sandbox.Party{ID: "operator", Role: sandbox.Operator, Name: "运营机构", Affiliates: []sandbox.PartyID{"partner"}}, Identities: []sandbox.Identity{officer("operator")}},
		{Party: sandbox.Party{ID: "partner", Role: sandbox.Partner, Name: "运营合作方"}, Identities: []sandbox.Identity{officer("partner")}},
		{Party: sandbox.Party{ID: "insurer", Role: sandbox.Insurer, Name: "保险机构"}, Identities: []sandbox.Identity{officer("insurer")}},
		{Party: sandbox.Party{ID: "auditor", Role: sandbox.Auditor, Name: "审计机构"}, Identities: []sandbox.Identity{officer("auditor")}},
	}
	for _, u := range f.units {
		id := string(u.ID)
		out = append(out, api.Enrolment{Party: sandbox.Party{ID: u.ID, Role: sandbox.Unit, Name: u.Name}, Identities: []sandbox.Identity{officer(id), reviewer(id)}})
	}
	return out
}

// patient is the data subject init makes keys for; the agency binds it to a person later.
func patient() (sandbox.Party, sandbox.Identity) {
	return sandbox.Party{ID: "patient", Role: sandbox.Subject, Name: "数据主体"}, sandbox.Identity{ID: "patient", Party: "patient", Duty: sandbox.Officer}
}

func identityDir(dir string, id sandbox.IdentityID) string {
	return filepath.Join(dir, "identities", string(id))
}

// check refuses what no domain can be, before a passphrase is asked for.
func (f founding) check() error {
	if err := sandbox.CheckID("--domain", f.domain); err != nil {
		return usageError{err}
	}
	if f.hosting != sandbox.P1 && f.hosting != sandbox.P2 {
		return usageError{invalid("--hosting", "P1 (agency-hosted) or P2 (operator-hosted)", "")}
	}
	if !slices.Contains(profile.Names(), f.district) {
		return usageError{invalid("--district", "no rules of this district are shipped", "one of "+strings.Join(profile.Names(), ", "))}
	}
	return nil
}

// found makes a domain and the identities it starts with.
func (a *app) found(ctx context.Context, f founding, passphrase []byte, m *api.Metrics) (*node.Node, map[sandbox.IdentityID]*identity, error) {
	if err := f.check(); err != nil {
		return nil, nil, err
	}
	cfg := node.Config{Dir: f.dir, Passphrase: passphrase, Now: a.now, Space: doctor.Space, Rand: a.rand, Metrics: m}
	made := map[sandbox.IdentityID]*identity{}
	roster := f.roster()
	// The folder must be empty before keys are written into it, so the check of Create is made here first.
	if err := node.Vacant(f.dir); err != nil {
		return nil, nil, err
	}
	if f.device.Module != "" {
		var err error
		if cfg.Device, err = a.token(f.device, passphrase); err != nil {
			return nil, nil, err
		}
	}
	own := f.identities
	if own == nil {
		own = passphrase
	}
	for i := range roster {
		for j, id := range roster[i].Identities {
			key, err := makeIdentity(identityDir(f.dir, id.ID), own, f.keys, a.rand, id)
			if err != nil {
				return nil, nil, err
			}
			roster[i].Identities[j], made[id.ID] = key.Identity, key
		}
	}
	_, who := patient()
	key, err := makeIdentity(identityDir(f.dir, who.ID), own, f.keys, a.rand, who)
	if err != nil {
		return nil, nil, err
	}
	made[who.ID] = key
	n, err := node.Create(ctx, cfg, node.Founding{Domain: f.domain, Hosting: f.hosting, District: f.district, Keys: f.keys, Enrolled: roster})
	if err == nil && f.device.Module != "" {
		if err = keepDevice(filepath.Join(f.dir, "keys"), f.device); err != nil {
			err = errors.Join(err, n.Close())
		}
	}
	return n, made, err
}

func (a *app) initCommand() *cobra.Command {
	f := founding{hosting: sandbox.P1, keys: newKeys}
	var hosting, identities string
	var units []string
	c := verb("init", "Make a domain and the identities it starts with (建域)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		f.hosting = sandbox.Hosting(hosting)
		f.device.Label = f.domain
		f.units = nil
		for _, u := range units {
			id, name, ok := strings.Cut(u, "=")
			if !ok || sandbox.CheckID("unit", id) != nil {
				return usageError{invalid("--unit", "id=name, the id of a-z, 0-9 and -", "--unit unit-medical=医疗保障数源单位")}
			}
			f.units = append(f.units, storyUnit{sandbox.PartyID(id), name})
		}
		if len(f.units) == 0 {
			f.units = defaultUnits
		}
		if err := f.check(); err != nil {
			return err
		}
		if err := vacant("init", f.dir); err != nil {
			return err
		}
		p, err := a.foundingPassphrases(&f, identities)
		if err != nil {
			return err
		}
		var info api.DomainInfo
		var made map[sandbox.IdentityID]*identity
		if err := inNewFolder("init", f.dir, func() error {
			var n *node.Node
			if n, made, err = a.found(c.Context(), f, p, api.NewMetrics()); err != nil {
				return err
			}
			info, err = n.Domain(c.Context())
			return errors.Join(err, n.Close())
		}); err != nil {
			return err
		}
		return a.show(info, func(w io.Writer) {
			fmt.Fprintf(w, "domain %s (%s, %s) is in %s\n", info.Domain, info.District, info.Hosting, f.dir)
			fmt.Fprintf(w, "signing key SM3 fingerprint: %s\n", fingerprint(info.SignKey))
			fmt.Fprintf(w, "%d identities are in %s: hand each folder to its owner and remove it there\n", len(made), filepath.Join(f.dir, "identities"))
			fmt.Fprintf(w, "next: opdomain serve --dir %s\n", f.dir)
		})
	})
	c.Flags().StringVar(&f.dir, "dir", "", "new folder of the domain")
	c.Flags().StringVar(&f.domain, "domain", "district", "name of the domain, an identifier")
	c.Flags().StringVar(&f.district, "district", "longhua", "rules of the district: "+strings.Join(profile.Names(), ", "))
	c.Flags().StringVar(&hosting, "hosting", "P1", "P1 agency-hosted, P2 operator-hosted")
	c.Flags().StringVar(&f.device.Module, "pkcs11", "", "keep the key-encrypting keys in a device: path of its PKCS#11 module; the passphrase is its PIN")
	c.Flags().StringVar(&f.device.Token, "token", "", "label of the device's token")
	c.Flags().StringVar(&f.device.Mechanism, "mechanism", "AES-256-GCM", "how the device wraps keys: AES-256-GCM or AES-256-CBC")
	c.Flags().StringVar(&identities, "identity-passphrase-file", "", "file with the passphrase of the identities' folders; default: the domain's; needed beside a PIN of less than 12 bytes")
	c.Flags().StringArrayVar(&units, "unit", nil, "source unit as id=name; repeat for more (default: two)")
	must(c.MarkFlagRequired("dir"))
	return c
}

// foundingPassphrases finds the passphrase of a new domain, or the PIN of its device, and that of the identities' folders: these
// are files, so a short PIN, which a device counts the tries of, would not protect them.
func (a *app) foundingPassphrases(f *founding, identities string) (p []byte, err error) {
	if f.device.Module == "" {
		p, err = a.newPassphraseFor(f.dir)
	} else {
		p, err = a.passphraseFor(f.dir)
	}
	if err != nil {
		return nil, err
	}
	if identities != "" {
		if f.identities, err = readPassphrase(identities); err == nil {
			err = longEnough(identities, f.identities)
		}
		return p, err
	}
	if len(p) < minPassphrase {
		return nil, usageError{invalid("--identity-passphrase-file", "the identities' keys are in files, which a PIN of less than 12 bytes does not protect", "name a file with a passphrase for them")}
	}
	return p, nil
}

// must is for mistakes in the command tree itself.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
