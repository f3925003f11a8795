package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/console"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// desk lets a page's reviewer read and decide with signed requests.
type desk struct{ s *session }

func (d desk) Reviews(ctx context.Context) ([]api.Review, error) {
	return result[[]api.Review](d.s.api.ListReviews(ctx))
}

func (d desk) Review(ctx context.Context, id sandbox.QuestionID) (api.Review, error) {
	return result[api.Review](d.s.api.GetReview(ctx, id))
}

// Decide signs what was confirmed, about exactly what the page showed.
func (d desk) Decide(ctx context.Context, x console.Decision) (api.Review, error) {
	r, err := d.Review(ctx, x.Question)
	if err != nil {
		return r, err
	}
	if r.State != x.State || !bytes.Equal(r.Digest, x.Digest) || len(r.Result) > 0 && !bytes.Equal(egress.Digest(r.Result), r.Digest) {
		return r, &sandbox.Error{Op: "decide", Kind: sandbox.Conflict, Object: string(x.Question), Detail: "the review has moved since the page showed it", Hint: "read it again"}
	}
	if x.Act != "" {
		return d.s.send(ctx, attest.ReviewAct{Question: x.Question, Round: r.Round, Act: string(x.Act), State: r.State, Result: r.Digest, Reason: x.Reason, At: d.s.now()})
	}
	return d.s.vote(ctx, x.Question, x.Approve, x.Reason)
}

func (a *app) pageCommand() *cobra.Command {
	var out string
	c := verb("page QUESTION", "Write a review as one HTML page: what would leave and the evidence behind it, as far as you may see it (审核页)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		if err := sandbox.CheckID("question", args[0]); err != nil {
			return usageError{err}
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		r, err := result[api.Review](s.api.GetReview(c.Context(), sandbox.QuestionID(args[0])))
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := console.Page(&b, r); err != nil {
			return err
		}
		if out == "-" {
			_, err = a.out.Write(b.Bytes())
			return err
		}
		return a.writeFile("page", out, func(w io.Writer) error {
			_, err := w.Write(b.Bytes())
			return err
		})
	})
	c.Flags().StringVar(&out, "out", "", "file to write, readable by you alone; - for standard output")
	must(c.MarkFlagRequired("out"))
	return c
}

func (a *app) deskCommand() *cobra.Command {
	var listen string
	c := verb("serve", "Serve review pages on this machine, and sign what you confirm on them (审核台)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		s, err := a.connect()
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", listen)
		if err != nil {
			return usageError{invalid("--listen", "a free loopback address with a port", "e.g. 127.0.0.1:0")}
		}
		d, err := console.NewDesk(desk{s}, s.id.Identity, l.Addr(), a.rand)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		fmt.Fprintf(a.out, "review desk of %s 审核台: open %s\n", s.id.ID, d.Address())
		srv := &http.Server{Handler: d, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10}
		done := make(chan error, 1)
		go func() { done <- srv.Serve(l) }()
		select {
		case err = <-done:
		case <-c.Context().Done():
			stop, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), 5*time.Second)
			defer cancel()
			err = srv.Shutdown(stop)
			if e := <-done; err == nil {
				err = e
			}
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "loopback address and port")
	return c
}
