package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/node"
	"github.com/opdomain/opdomain/sandbox/seam"
)

// controlSocket stands in the domain's folder: only its owner and root get through, and nothing of it crosses the network.
const controlSocket = "control"

// order (运维指令) is what the owner of a domain's folder asks the process that serves it to do.
type order struct {
	Verb      string                   `json:"verb"`
	To        string                   `json:"to,omitempty"`
	Unit      sandbox.PartyID          `json:"unit,omitempty"`
	Current   []byte                   `json:"current,omitempty"`
	Next      []byte                   `json:"next,omitempty"`
	Shares    int                      `json:"shares,omitempty"`
	Threshold int                      `json:"threshold,omitempty"`
	Witnesses *node.Witnesses          `json:"witnesses,omitempty"`
	Requests  *api.CertificateRequests `json:"requests,omitempty"`
	Entries   []uint64                 `json:"entries,omitempty"`
	Reason    string                   `json:"reason,omitempty"`
}

// orders are what can be asked, by verb.
func orders() map[string]func(ctx context.Context, n *node.Node, o order) (any, error) {
	return map[string]func(ctx context.Context, n *node.Node, o order) (any, error){
		"status": func(ctx context.Context, n *node.Node, _ order) (any, error) { return n.Status(ctx) },
		"backup": func(ctx context.Context, n *node.Node, o order) (any, error) { return n.Backup(ctx, o.To) },
		"rotate": func(ctx context.Context, n *node.Node, o order) (any, error) { return n.RotateKeys(ctx, o.Unit) },
		"passphrase": func(ctx context.Context, n *node.Node, o order) (any, error) {
			return struct{}{}, n.ChangePassphrase(ctx, o.Current, o.Next)
		},
		"share": func(_ context.Context, n *node.Node, o order) (any, error) { return n.ShareKeys(o.Threshold, o.Shares) },
		"audit": func(ctx context.Context, n *node.Node, _ order) (any, error) { return n.Audit(ctx, nil) },
		"erase": func(ctx context.Context, n *node.Node, o order) (any, error) {
			return struct{}{}, n.EraseEvidence(ctx, o.Reason, o.Entries)
		},
		"certify": func(ctx context.Context, n *node.Node, o order) (any, error) {
			if o.Requests == nil {
				return nil, invalid("order", "the requests for both certificates", "")
			}
			p, err := n.CertifyServer(ctx, *o.Requests)
			if err != nil {
				return nil, err
			}
			info, err := n.Authority(ctx)
			return certified{p, info.Revoked}, err
		},
		"check":   func(ctx context.Context, n *node.Node, _ order) (any, error) { return checkVault(ctx, n), nil },
		"collect": func(ctx context.Context, n *node.Node, _ order) (any, error) { return n.Collect(ctx) },
		"witnesses": func(ctx context.Context, n *node.Node, o order) (any, error) {
			return struct{}{}, n.SetWitnesses(ctx, *o.Witnesses)
		},
	}
}

// control takes orders on the socket until ctx ends.
func (a *app) control(ctx context.Context, n *node.Node, dir string) (*serving, error) {
	l, err := seam.Listen(filepath.Join(dir, controlSocket), 0o600, uint32(os.Geteuid()), 0)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	s := &http.Server{Handler: a.takeOrders(ctx, n), ReadTimeout: 10 * time.Second, MaxHeaderBytes: 4 << 10}
	v := &serving{stop: stop, done: make(chan error, 1)}
	go func() {
		<-ctx.Done()
		_ = s.Shutdown(context.WithoutCancel(ctx)) // an order under way is carried out
		v.done <- nil
	}()
	go func() { _ = s.Serve(l) }()
	return v, nil
}

func (a *app) takeOrders(ctx context.Context, n *node.Node) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var o order
		v, err := any(nil), error(invalid("order", "one JSON order", ""))
		if dec := json.NewDecoder(io.LimitReader(r.Body, 1<<20)); r.Method == http.MethodPost && dec.Decode(&o) == nil {
			v, err = obey(context.WithoutCancel(ctx), n, o)
		}
		if err != nil {
			refused := api.Refuse(err)
			w.WriteHeader(refused.Status)
			_, _ = w.Write(refused.Body)
			return
		}
		_ = json.NewEncoder(w).Encode(v)
	})
}

func obey(ctx context.Context, n *node.Node, o order) (any, error) {
	do := orders()[o.Verb]
	if do == nil {
		return nil, invalid("order", "no such order", "")
	}
	return do(ctx, n, o)
}

// command has an order carried out by the process that serves the domain in dir or, when none does, opens it for that.
func (a *app) command(ctx context.Context, dir string, o order, into any) error {
	c, err := seam.Dial(ctx, filepath.Join(dir, controlSocket), folderOwner(dir))
	if errors.Is(err, sandbox.Unavailable) {
		n, err := a.domain(ctx, opening{dir: dir}, api.NewMetrics())
		if err != nil {
			return err
		}
		v, err := obey(ctx, n, o)
		if err = errors.Join(err, n.Close()); err != nil {
			return err
		}
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, into)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	one := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }, DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control/", bytes.NewReader(b))
	if err != nil {
		return err
	}
	answer, err := body(one.Do(r))
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, into)
}

// folderOwner is the user whose process may serve a folder.
func folderOwner(dir string) uint32 {
	if uid, ok := ownerOf(dir); ok {
		return uid
	}
	return uint32(os.Geteuid())
}
