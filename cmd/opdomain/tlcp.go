package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/pki"
	"github.com/opdomain/opdomain/attest/sm/tlcp"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// pairFile is the pair of certificates one side of TLCP shows, and what it checks the other side with. A server's holds its
// private keys, as a TLS key file does; an identity's are secrets of its key folder.
type pairFile struct {
	api.CertificatePair
	Revoked    string    `json:"revoked"` // the authority's newest list
	Fetched    time.Time `json:"fetched"`
	Secret     string    `json:"secret,omitempty"`
	SignKey    []byte    `json:"sign_key,omitempty"`
	DecryptKey []byte    `json:"decrypt_key,omitempty"`
}

const (
	identityPair = "tlcp.json" // in an identity's folder
	tlcpScheme   = "tlcp://"
	listAge      = 24 * time.Hour // a client asks for a newer list behind it
	listEvery    = time.Second    // a server asks that often: so long a revoked pair still connects, to requests that are refused
)

func (p pairFile) save(path string) error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		err = durable.Replace(path, append(b, '\n'))
	}
	if err != nil {
		return &sandbox.Error{Op: "certificates", Kind: sandbox.Unavailable, Object: path, Err: err}
	}
	return nil
}

// config makes one side of the channel of a pair.
func (p pairFile) config(a *app, sign *sm.SigningKey, decrypt *sm.DecryptKey, allow func(pki.Name) error) (*tlcp.Config, error) {
	v, err := pki.NewVerifier(a.now, []byte(p.Authority))
	if err != nil {
		return nil, err
	}
	if err := v.SetCRL([]byte(p.Revoked)); err != nil {
		return nil, err
	}
	s, err := pki.ParseCertificate([]byte(p.Sign))
	if err != nil {
		return nil, err
	}
	e, err := pki.ParseCertificate([]byte(p.Encrypt))
	if err != nil {
		return nil, err
	}
	c := &tlcp.Config{Sign: s, SignKey: sign, Encrypt: e, EncryptKey: decrypt, Verifier: v, Allow: allow, Rand: a.rand, Now: a.now}
	return c, c.Check()
}

// requests makes the requests for both certificates of an identity.
func (a *app) requests(id sandbox.IdentityID, sign *sm.SigningKey, decrypt *sm.DecryptKey) (api.CertificateRequests, error) {
	s, err := pki.NewSignRequest(a.rand, sign, id)
	if err != nil {
		return api.CertificateRequests{}, err
	}
	e, err := pki.NewEncryptRequest(a.rand, decrypt, id)
	return api.CertificateRequests{Sign: string(s), Encrypt: string(e)}, err
}

// serverIdentity is what a domain's front end is certified as.
const serverIdentity = sandbox.IdentityID("domain")

// certified is what the control socket answers to certify.
type certified struct {
	api.CertificatePair
	Revoked string `json:"revoked"`
}

// serverPairCommand has the domain certify new keys for its front end.
func (a *app) serverPairCommand() *cobra.Command {
	var dir, out string
	c := verb("certify", "Have the domain certify new keys for its TLCP listener, into a file for serve --tlcp-pair (签发服务端证书)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if err := a.writable("certify", out); err != nil {
			return err
		}
		sign, err := sm.NewSigningKey(a.rand)
		if err != nil {
			return err
		}
		decrypt, err := sm.NewDecryptKey(a.rand)
		if err != nil {
			return err
		}
		r, err := a.requests(serverIdentity, sign, decrypt)
		if err != nil {
			return err
		}
		var got certified
		if err := a.command(c.Context(), dir, order{Verb: "certify", Requests: &r}, &got); err != nil {
			return err
		}
		p := pairFile{CertificatePair: got.CertificatePair, Revoked: got.Revoked, Fetched: a.now(), SignKey: sign.Bytes(), DecryptKey: decrypt.Bytes()}
		if err := p.save(out); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "both certificates and their keys are in %s; the pair before is revoked\nnext: opdomain serve --dir %s --tlcp ADDRESS --tlcp-pair %s\n", out, dir, out)
		return nil
	})
	c.Flags().StringVar(&dir, "dir", "", "folder of the domain")
	c.Flags().StringVar(&out, "out", "", "file to write, readable by its owner only")
	must(c.MarkFlagRequired("dir"))
	must(c.MarkFlagRequired("out"))
	return c
}

// identityCommand is what an identity, and who is over it, does about its keys.
func (a *app) identityCommand() *cobra.Command {
	certify := verb("certify", "Have the domain certify keys of your identity for TLCP; the pair before is revoked (申请证书)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		s, err := a.connect()
		if err != nil {
			return err
		}
		path := filepath.Join(a.as, identityPair)
		var before pairFile
		if _, err := os.Stat(path); err == nil {
			if err := a.readJSON(path, &before); err != nil {
				return err
			}
		}
		p := pairFile{Secret: nextSecret(before.Secret), Fetched: a.now()}
		sign, decrypt, err := s.id.tlcpKeys(p.Secret)
		if err != nil {
			return err
		}
		r, err := a.requests(s.id.ID, sign, decrypt)
		if err != nil {
			return err
		}
		if p.CertificatePair, err = result[api.CertificatePair](s.api.IssueCertificates(c.Context(), s.id.ID, r)); err != nil {
			return err
		}
		info, err := result[api.AuthorityInfo](s.api.GetAuthority(c.Context()))
		if err != nil {
			return err
		}
		p.Revoked = info.Revoked
		if err := p.save(path); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "the pair is in %s; reach the domain with --server %sHOST:PORT\n", path, tlcpScheme)
		return nil
	})
	var reason string
	revoke := verb("revoke IDENTITY", "Shut an identity out for good from the next request on, with its certificates (身份吊销)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		s, err := a.connect()
		if err != nil {
			return err
		}
		if _, err := body(s.api.RevokeIdentity(c.Context(), sandbox.IdentityID(args[0]), api.RevocationRequest{Reason: reason})); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s is shut out\n", args[0])
		return nil
	})
	revoke.Flags().StringVar(&reason, "reason", "", "why, in 1 to 200 characters; it goes into the evidence")
	must(revoke.MarkFlagRequired("reason"))
	renew := verb("renew", "Give your identity new keys; the folder it had is kept beside as FOLDER.before (更新密钥)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return a.renew(c.Context())
	})
	return group("identity", "Keys and certificates of identities (数字身份)", a.newIdentityCommand(), a.enrolCommand(), certify, renew, revoke)
}

// nextSecret names the secret of the next pair: tlcp-1, tlcp-2, …
func nextSecret(before string) string {
	n := 0
	if _, err := fmt.Sscanf(before, "tlcp-%d", &n); err != nil {
		n = 0
	}
	return fmt.Sprintf("tlcp-%d", n+1)
}

func (i *identity) tlcpKeys(secret string) (*sm.SigningKey, *sm.DecryptKey, error) {
	sign, err := i.keys.SigningSecret(secret)
	if err != nil {
		return nil, nil, err
	}
	decrypt, err := i.keys.DecryptSecret(secret)
	return sign, decrypt, err
}

// renew replaces the keys of the identity named by --as: the new folder is whole before the domain hears of it, and takes the
// old one's place when the domain has it.
func (a *app) renew(ctx context.Context) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	dir := filepath.Clean(a.as)
	fresh, old := dir+".next", dir+".before"
	for _, x := range []string{fresh, old} {
		if _, err := os.Stat(x); err == nil {
			return &sandbox.Error{Op: "renew", Kind: sandbox.Conflict, Object: x, Detail: "it is left from a renewal before",
				Hint: "if requests signed with " + dir + " are refused and those with " + fresh + " are not, put it in its place; else remove it"}
		}
	}
	p, err := a.passphraseFor(a.as)
	if err != nil {
		return err
	}
	next, err := makeIdentity(fresh, p, newKeys, a.rand, s.id.Identity)
	if err != nil {
		return err
	}
	r, err := api.NewRenewal(a.rand, next.ID, next.keys.SigningKey(), next.keys.DecryptKey().Public())
	if err == nil {
		_, err = body(s.api.RenewIdentity(ctx, s.id.ID, r))
	}
	var answered *sandbox.Error
	if err != nil {
		if errors.As(err, &answered) && answered.Kind != sandbox.Unavailable { // the domain said no: it has not heard of the new keys
			err = errors.Join(err, os.RemoveAll(fresh))
		}
		return err
	}
	if err := errors.Join(os.Rename(dir, old), os.Rename(fresh, dir)); err != nil {
		return &sandbox.Error{Op: "renew", Kind: sandbox.Unavailable, Object: fresh, Detail: "the domain has the new keys, the folder could not be moved", Hint: "move it to " + dir, Err: err}
	}
	fmt.Fprintf(a.out, "%s has new keys; the old folder is %s: what was sealed to the old key opens with it\n", s.id.ID, old)
	return nil
}

// transport reaches a server: http and https as they stand, tlcp with the identity's pair.
func (a *app) transport(server string, id *identity) (string, *http.Transport, error) {
	t := &http.Transport{MaxIdleConnsPerHost: 4}
	address, ok := strings.CutPrefix(server, tlcpScheme)
	if !ok {
		return server, t, nil
	}
	path := filepath.Join(a.as, identityPair)
	var p pairFile
	if id == nil {
		return "", nil, usageError{invalid("--as", "TLCP shows the certificates of an identity", "name an identity's folder with --as")}
	}
	if _, err := os.Stat(path); err != nil {
		return "", nil, &sandbox.Error{Op: "tlcp", Kind: sandbox.NotFound, Object: path, Detail: "this identity has no certificates", Hint: "opdomain identity certify, over another channel"}
	}
	if err := a.readJSON(path, &p); err != nil {
		return "", nil, err
	}
	sign, decrypt, err := id.tlcpKeys(p.Secret)
	if err != nil {
		return "", nil, err
	}
	c, err := p.config(a, sign, decrypt, func(n pki.Name) error {
		if n.Identity != serverIdentity || n.Role != sandbox.Agency {
			return &sandbox.Error{Op: "tlcp", Kind: sandbox.Denied, Object: "server", Detail: "the certificates are not those of the domain's front end"}
		}
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return tlcp.Dial(ctx, address, c) }
	return "http://" + address, t, nil
}

// freshen fetches a newer revocation list over a channel that is proven, before the one at hand is too old to be used.
func (a *app) freshen(ctx context.Context, s *session) error {
	path := filepath.Join(a.as, identityPair)
	var p pairFile
	if err := a.readJSON(path, &p); err != nil || a.now().Sub(p.Fetched) < listAge {
		return err
	}
	info, err := result[api.AuthorityInfo](s.api.GetAuthority(ctx))
	if err != nil {
		return err
	}
	v, err := pki.NewVerifier(a.now, []byte(p.Authority))
	if err == nil {
		err = v.SetCRL([]byte(info.Revoked))
	}
	if err != nil {
		return err
	}
	p.Revoked, p.Fetched = info.Revoked, a.now()
	return p.save(path)
}

// tlcpServer carries a listener's connections under TLCP and keeps its revocation list fresh until ctx ends.
func (a *app) tlcpServer(ctx context.Context, inner net.Listener, p pairFile, fetch func(context.Context) (api.AuthorityInfo, error), log *slog.Logger) (net.Listener, error) {
	sign, err := sm.ParseSigningKey(p.SignKey)
	if err != nil {
		return nil, err
	}
	decrypt, err := sm.ParseDecryptKey(p.DecryptKey)
	if err != nil {
		return nil, err
	}
	info, err := fetch(ctx)
	if err != nil {
		return nil, err
	}
	p.Revoked = info.Revoked
	c, err := p.config(a, sign, decrypt, nil)
	if err != nil {
		return nil, err
	}
	if err := c.Verifier.Current(c.Sign, a.now()); err != nil { // replaced by a newer pair, or past its end
		return nil, err
	}
	c.Refused = func(_ net.Addr, err error) { // neither address nor name
		log.LogAttrs(ctx, slog.LevelWarn, "tlcp handshake refused", slog.String("kind", string(sandbox.KindOf(err))))
	}
	if err := silence(); err != nil {
		return nil, err
	}
	l, err := channel.TLCP(inner, c)
	if err != nil {
		return nil, err
	}
	go func() {
		for sleep(ctx, listEvery) == nil {
			next, err := fetch(ctx)
			if err == nil && next.Revoked == info.Revoked {
				continue
			}
			if err == nil {
				if err = c.Verifier.SetCRL([]byte(next.Revoked)); err == nil {
					info = next
				}
			}
			if err != nil && ctx.Err() == nil && !errors.Is(err, pki.OldList) {
				log.LogAttrs(ctx, slog.LevelError, "revocation list", slog.String("kind", string(sandbox.KindOf(err))), slog.String("error", err.Error()))
			}
		}
	}()
	return l, nil
}

// silence takes standard output away from the protocol engine, which prints what it was sent: what this program says itself
// goes to the file it was started with.
func silence() error {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return &sandbox.Error{Op: "serve", Kind: sandbox.Unavailable, Object: os.DevNull, Err: err}
	}
	os.Stdout = null
	return nil
}

// fetched asks a core for what certificates are checked with.
func fetched(k api.Core, authority string) func(context.Context) (api.AuthorityInfo, error) {
	return func(ctx context.Context) (api.AuthorityInfo, error) {
		ans := k.Do(ctx, api.Call{Route: "GET /v1/authority", Method: http.MethodGet, Authority: authority, Path: "/v1/authority"})
		if ans.Stream != nil {
			_ = ans.Stream.Close()
		}
		return result[api.AuthorityInfo](&http.Response{StatusCode: ans.Status, Body: io.NopCloser(strings.NewReader(string(ans.Body)))}, nil)
	}
}
