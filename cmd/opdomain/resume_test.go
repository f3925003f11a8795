package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// breaking is a source that an interrupt ends after most of its batches: more bytes than wait unread on the way.
type breaking struct {
	connectors.Source
	read int
	stop context.CancelFunc
}

func (b *breaking) Next(ctx context.Context) (arrow.Record, error) {
	if b.read++; b.read > 20 {
		b.stop()
		return nil, context.Canceled
	}
	return b.Source.Next(ctx)
}

// TestBrokenOffPushSaysHowToGoOn: a run that is still there is named with its error, also to who was interrupted; show says
// how much of it is durable; one that was refused or is done is not.
func TestBrokenOffPushSaysHowToGoOn(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	d := catalog.Dataset{ID: "ds-go-on", Unit: "unit-population", Title: "t", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{{Name: "who", Type: catalog.Text, Grade: 3, Personal: true}}}
	s := w.as("unit-population")
	if _, err := result[catalog.Dataset](s.api.RegisterDataset(ctx, d)); err != nil {
		t.Fatal(err)
	}
	const many = 22 * 2000
	table := func(text string) string {
		path := filepath.Join(t.TempDir(), "t.csv")
		w.must(os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	path := table("who\n" + strings.Repeat(strings.Repeat("p", 250)+"\n", many))
	opts := file.Options{BatchRows: 2000}

	whole := csvSource(path, d, connectors.Mapping{}, opts)
	says := func(err error) string {
		var out bytes.Buffer
		(&app{err: &out, out: io.Discard}).fail(err)
		return out.String()
	}
	const on = "hint: go on with --run run-1\n"

	interrupted, stop := context.WithCancel(ctx)
	_, err := s.push(interrupted, w.info, d, "run-1", func(ctx context.Context) (connectors.Source, error) {
		src, err := whole(ctx)
		return &breaking{Source: src, stop: stop}, err
	}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got := says(s.brokenOff(interrupted, "run-1", err)); !strings.HasSuffix(got, on) {
		t.Errorf("interrupted: %q", got)
	}
	failed := &sandbox.Error{Op: "request", Kind: sandbox.Unavailable, Object: "domain", Detail: "cannot be reached", Hint: "is it running?"}
	if got := says(s.brokenOff(ctx, "run-1", failed)); !strings.HasSuffix(got, "hint: is it running?\n"+on) {
		t.Errorf("open: %q", got)
	}
	if got := says(s.brokenOff(ctx, "run-2", failed)); strings.Contains(got, "go on") {
		t.Errorf("never opened: %q", got)
	}
	p, err := result[api.Push](s.api.GetPush(ctx, "run-1"))
	for try := 0; err == nil && p.ResumeFrom == 0 && try < 200; try++ { // the domain may still be ending the stream
		p, err = result[api.Push](s.api.GetPush(ctx, "run-1"))
	}
	if err != nil || p.State != "open" || p.ResumeFrom == 0 || len(p.Prefix) == 0 {
		t.Errorf("show: %+v %v", p, err)
	}
	if rep, err := s.push(ctx, w.info, d, "run-1", whole, nil); err != nil || rep.Rows != many || rep.Streams != 2 {
		t.Errorf("gone on with: %+v %v", rep, err)
	}
	other := csvSource(table("who\nperson-0002\n"), d, connectors.Mapping{}, opts)
	_, err = s.push(ctx, w.info, d, "run-1", other, nil)
	if got := says(s.brokenOff(ctx, "run-1", err)); strings.Contains(got, "go on") || !strings.Contains(got, "other content") {
		t.Errorf("committed with other rows: %q", got)
	}
}
