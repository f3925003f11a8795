package jail

import (
	"context"
	"io"
)

// Runs (逐次隔离运行) runs an image once for each answer, on data that are sealed for it, and remembers the posture of the last. One goroutine uses it.
type Runs struct {
	Launcher *Launcher
	Tier     Tier
	Image    *Image
	Limits   Limits
	Posture  Posture // of the last process, seen before it got data
	Output   int64   // bytes that the last process printed
}

// Answer starts a process, gives it what fill writes, asks it once (guest.Answer) and ends it. The error says how it ended, never in its words.
func (r *Runs) Answer(ctx context.Context, fill func(io.Writer) error) (out []byte, err error) {
	data, err := NewDataset(fill)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	p, err := r.Launcher.Start(ctx, Job{Tier: r.Tier, Image: r.Image, Dataset: data, Limits: r.Limits})
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := p.Close(); err == nil {
			err = cerr
		}
	}()
	r.Posture = p.Posture()
	out, err = p.Ask(ctx, nil)
	r.Output = p.Output()
	return out, err
}
