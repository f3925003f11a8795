package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// described gives what an identity's owner and the agency compare over another way than the file went: a digest of all that
// identity.json says, the encryption key too.
func described(i sandbox.Identity) string {
	d := sm.Sum(sm.Frame([]byte(i.ID), []byte(i.Party), []byte(i.Duty), i.SignKey, i.EncryptKey))
	return hex.EncodeToString(d[:16])
}

// newIdentityCommand makes the keys of an identity on its owner's machine: the agency sees the public ones only.
func (a *app) newIdentityCommand() *cobra.Command {
	var dir, id, party, duty string
	c := verb("new", "Make keys for a new identity, on its owner's machine; the agency enrols it (生成数字身份)", cobra.NoArgs, func(*cobra.Command, []string) error {
		if party == "" {
			party = id
		}
		for _, x := range [][2]string{{"--id", id}, {"--party", party}} {
			if err := sandbox.CheckID(x[0], x[1]); err != nil {
				return usageError{err}
			}
		}
		who := sandbox.Identity{ID: sandbox.IdentityID(id), Party: sandbox.PartyID(party), Duty: sandbox.Duty(duty)}
		if who.Duty != sandbox.Officer && who.Duty != sandbox.Reviewer {
			return usageError{invalid("--duty", "officer or reviewer", "")}
		}
		if err := vacant("identity new", dir); err != nil {
			return err
		}
		p, err := a.newPassphraseFor(dir)
		if err != nil {
			return err
		}
		var i *identity
		if err := inNewFolder("identity new", dir, func() error {
			if i, err = makeIdentity(dir, p, newKeys, a.rand, who); err == nil {
				i.keys.Close()
			}
			return err
		}); err != nil {
			return err
		}
		return a.show(i.Identity, func(w io.Writer) {
			public := filepath.Join(dir, identityFile)
			fmt.Fprintf(w, "the keys of %s, %s of %s, are in %s: keep the folder, it alone signs as %s\n", who.ID, who.Duty, who.Party, dir, who.ID)
			fmt.Fprintf(w, "fingerprint %s\n", described(i.Identity))
			fmt.Fprintf(w, "next: send %s, which holds no secret, to the agency, tell it the fingerprint another way; it runs opdomain identity enrol %s --role ROLE --name NAME\n", public, identityFile)
		})
	})
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "new folder of the identity")
	f.StringVar(&id, "id", "", "name of the identity, an identifier")
	f.StringVar(&party, "party", "", "name of the party it belongs to; default: the same")
	f.StringVar(&duty, "duty", string(sandbox.Officer), "officer or reviewer")
	must(c.MarkFlagRequired("dir"))
	must(c.MarkFlagRequired("id"))
	return c
}

// newcomer is what enrol is told about a party beside its identities.
type newcomer struct {
	role, name, kind, idFile string
	affiliates               []string
}

func (a *app) enrolCommand() *cobra.Command {
	var n newcomer
	c := verb("enrol FILE...", "As the agency, admit a party with all its identities, or a person: identity.json of each (主体登记)", cobra.MinimumNArgs(1), func(c *cobra.Command, args []string) error {
		e, err := a.enrolment(n, args)
		if err != nil {
			return err
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		if e.Party.Role == sandbox.Subject {
			err = a.enrolPerson(c.Context(), s, e, n)
		} else {
			_, err = body(s.api.EnrolParty(c.Context(), e))
		}
		if err != nil {
			return err
		}
		return a.show(e, func(w io.Writer) {
			fmt.Fprintf(w, "enrolled %s (%s)\n", e.Party.ID, e.Party.Role)
			for _, i := range e.Identities {
				fmt.Fprintf(w, "  %-24s %-8s fingerprint %s\n", i.ID, i.Duty, described(i))
			}
			fmt.Fprintf(w, "compare each fingerprint with the one its owner was shown; where it differs: opdomain identity revoke\n")
		})
	})
	f := c.Flags()
	f.StringVar(&n.role, "role", "", "operator, partner, insurer, unit, auditor; or subject, for a person")
	f.StringVar(&n.name, "name", "", "name of the organisation; a person has none here")
	f.StringArrayVar(&n.affiliates, "affiliate", nil, "party whose people may not review this one's results; repeat for more")
	f.StringVar(&n.kind, "id-kind", string(catalog.ResidentID), "of a person: resident-id or opaque")
	f.StringVar(&n.idFile, "id-file", "", "of a person: file with the identifier the data have, - for standard input; it travels sealed")
	must(c.MarkFlagRequired("role"))
	return c
}

// enrolment reads the identities of one party, and refuses what does not go together before anything is sent.
func (a *app) enrolment(n newcomer, paths []string) (e api.Enrolment, err error) {
	e.Party = sandbox.Party{Role: sandbox.Role(n.role), Name: n.name}
	person := e.Party.Role == sandbox.Subject
	switch {
	case !e.Party.Role.Valid() || e.Party.Role == sandbox.Agency:
		return e, usageError{invalid("--role", "operator, partner, insurer, unit, auditor or subject; a domain has the agency it was founded with", "")}
	case !person && n.name == "":
		return e, usageError{invalid("--name", "an organisation has a name", "")}
	case !person && n.idFile != "":
		return e, usageError{invalid("--id-file", "it goes with --role subject", "")}
	case person && (n.name != "" || len(n.affiliates) > 0 || len(paths) != 1):
		return e, usageError{invalid("--role", "a person is one identity, without name and affiliates", "")}
	case person && n.idFile == "":
		return e, usageError{invalid("--id-file", "a person is bound to the identifier the data have", "--id-file FILE, or - for standard input")}
	case person && n.kind != string(catalog.ResidentID) && n.kind != string(catalog.Opaque):
		return e, usageError{invalid("--id-kind", "resident-id or opaque", "")}
	}
	for _, x := range n.affiliates {
		e.Party.Affiliates = append(e.Party.Affiliates, sandbox.PartyID(x))
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			path = filepath.Join(path, identityFile)
		}
		var i sandbox.Identity
		if err := a.readJSON(path, &i); err != nil {
			return e, err
		}
		if e.Party.ID == "" {
			e.Party.ID = i.Party
		}
		if i.Party != e.Party.ID {
			return e, invalid(path, "every identity belongs to the one party that is enrolled", "enrol the other party apart")
		}
		e.Identities = append(e.Identities, i)
	}
	return e, nil
}

// enrolPerson seals a person's identifier to the domain and binds the person's keys to it.
func (a *app) enrolPerson(ctx context.Context, s *session, e api.Enrolment, n newcomer) error {
	id, err := a.readFile(n.idFile)
	if err != nil {
		return err
	}
	text := strings.TrimRight(string(bytes.TrimPrefix(id, []byte("\ufeff"))), "\r\n")
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return invalid(n.idFile, "one line: the identifier", "")
	}
	info, err := s.domain(ctx)
	if err != nil {
		return err
	}
	sealed, err := s.seal(info, "opdomain/subject-id/v1", map[string]any{"kind": n.kind, "id": text})
	if err != nil {
		return err
	}
	_, err = body(s.api.EnrolSubject(ctx, api.SubjectEnrolment{Identity: e.Identities[0], Party: e.Party, SealedID: sealed}))
	return err
}
