package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// sayEvery is how often progress is told to who is no terminal, and drawEvery to who is one.
const (
	sayEvery  = 5 * time.Second
	drawEvery = 200 * time.Millisecond
)

// showProgress shows on w how much of total is done until end is called: a bar with rate and time left at a terminal,
// else a line now and then. A total of 0 is not known yet.
func showProgress(w io.Writer, unit string, total, done func() int64) (end func()) {
	stop := make(chan struct{})
	var ended sync.WaitGroup
	show, every, finish := sayProgress(w, unit, total, done), sayEvery, func() {}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		show, finish = drawProgress(f, unit, total, done)
		every = drawEvery
	}
	ended.Go(func() {
		ticks := time.NewTicker(every)
		defer ticks.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticks.C:
				show()
			}
		}
	})
	return func() {
		close(stop)
		ended.Wait()
		finish()
	}
}

func sayProgress(w io.Writer, unit string, total, done func() int64) func() {
	began := time.Now()
	return func() {
		of, n := total(), done()
		if of == 0 {
			fmt.Fprintln(w, "counting")
			return
		}
		rate := float64(n) / time.Since(began).Seconds()
		left := ""
		if rate > 0 {
			left = fmt.Sprintf(", %s left", (time.Duration(float64(max(of-n, 0))/rate) * time.Second).Round(time.Second))
		}
		fmt.Fprintf(w, "%d of %d %s, %.0f/s%s\n", n, of, unit, rate, left)
	}
}

func drawProgress(w io.Writer, unit string, total, done func() int64) (show, finish func()) {
	p := mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh(), mpb.WithRefreshRate(drawEvery))
	bar := p.AddBar(0,
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d "+unit)),
		mpb.AppendDecorators(decor.AverageSpeed(0, "%.0f/s "), decor.AverageETA(decor.ET_STYLE_GO)),
	)
	show = func() {
		bar.SetTotal(total(), false)
		bar.SetCurrent(done())
	}
	finish = func() {
		show()
		bar.SetTotal(-1, true)
		p.Wait()
	}
	return show, finish
}
