package program

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// conversation is a process of a Worker and the questions that it has.
type conversation struct {
	worker *Worker
	p      *process
	open   int         // questions; guarded by Worker.mu
	over   atomic.Bool // nothing more is asked

	writing sync.Mutex // held while a line is written

	mu      sync.Mutex
	pending map[uint64]*pending
	why     error // it was killed
}

// pending is a question that has been asked.
type pending struct {
	question *Question
	watchdog *time.Timer
	reply    chan reply // takes one
}

type reply struct {
	answer Answer
	err    error
}

// converse starts a process.
func (w *Worker) converse() (*conversation, error) {
	p, _, err := w.command.start(nil)
	if err != nil {
		return nil, err
	}
	p.files()
	return &conversation{worker: w, p: p, pending: map[uint64]*pending{}}, nil
}

// farewell is how long a process may take to end when there is nothing more to read.
const farewell = time.Second

// run reads answers until the process ends, and returns why it has.
func (c *conversation) run(life context.Context) error {
	stop := context.AfterFunc(life, func() {
		c.over.Store(true)
		c.p.closeInput()
		time.AfterFunc(farewell, c.p.kill)
	})
	defer stop()
	var streams sync.WaitGroup
	streams.Go(func() {
		_, _ = io.Copy(&complaints{log: c.worker.o.Log, command: c.worker.command.path}, c.p.open[stderr])
	})
	streams.Go(func() {
		if err := c.listen(); !errors.Is(err, io.EOF) {
			c.kill(err)
			return
		}
		c.over.Store(true)
		time.AfterFunc(farewell, c.p.kill)
	})
	status, err := c.p.wait()
	c.over.Store(true)
	c.p.lastWords()
	streams.Wait()
	c.p.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.why != nil:
		return c.why
	case err != nil:
		return err
	case status.Signaled():
		return fmt.Errorf("it was ended by a signal (%v)", status.Signal())
	}
	return fmt.Errorf("it has ended with exit code %d", status.ExitStatus())
}

// kill ends the process because of why; the first reason stays.
func (c *conversation) kill(why error) {
	c.over.Store(true)
	c.mu.Lock()
	if c.why == nil {
		c.why = why
	}
	c.mu.Unlock()
	c.p.kill()
}

// fail answers the questions that the process has left open.
func (c *conversation) fail() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, q := range c.pending {
		q.watchdog.Stop()
		delete(c.pending, id)
		q.reply <- reply{err: errEnded}
	}
}

// listen reads answers until one cannot be read. Standard output that ends ends the conversation.
func (c *conversation) listen() error {
	lines := bufio.NewReader(c.p.open[stdout])
	for {
		line, err := readLine(lines)
		if err != nil {
			return err
		}
		a, err := parseAnswer(line)
		if err != nil {
			return err
		}
		if err := c.answered(a); err != nil {
			return err
		}
	}
}

// readLine returns the next line, good until the one after.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	long := append([]byte(nil), line...)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(long) > maxAnswer {
			return nil, fmt.Errorf("an answer is longer than %d bytes", maxAnswer)
		}
		line, err = r.ReadSlice('\n')
		long = append(long, line...)
	}
	return long, err
}

// answered hands an answer to who waits for it.
func (c *conversation) answered(a *said) error {
	c.mu.Lock()
	q, ok := c.pending[a.id]
	delete(c.pending, a.id)
	c.mu.Unlock()
	if !ok {
		return errors.New("an answer has the id of no open question")
	}
	q.watchdog.Stop()
	answer, err := a.of(q.question)
	c.worker.release(c)
	q.reply <- reply{answer, err}
	return nil
}

// ask asks q, for which there is a place. Who leaves early leaves the question to the process: its place is free when it
// is answered.
func (c *conversation) ask(ctx context.Context, q *Question) (Answer, error) {
	id := c.worker.ids.Add(1)
	line, err := encode(q, id)
	if err != nil {
		c.worker.release(c)
		return Answer{}, err
	}
	asked := &pending{question: q, reply: make(chan reply, 1)}
	c.mu.Lock()
	if c.over.Load() {
		c.mu.Unlock()
		c.worker.release(c)
		return Answer{}, errEnded
	}
	c.pending[id] = asked
	asked.watchdog = time.AfterFunc(c.worker.o.Timeout, func() { c.kill(ErrTimeout) })
	c.mu.Unlock()
	if err := c.write(append(line, '\n')); err != nil {
		c.kill(fmt.Errorf("it reads no questions: %w", err))
	}
	select {
	case r := <-asked.reply:
		return r.answer, r.err
	case <-ctx.Done():
		return Answer{}, context.Cause(ctx)
	}
}

// write writes a line, for which the process has as long as a question may take.
func (c *conversation) write(line []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	f := c.p.open[stdin]
	if err := f.SetWriteDeadline(time.Now().Add(c.worker.o.Timeout)); err != nil {
		return err
	}
	_, err := f.Write(line)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrTimeout
	}
	return err
}

// complaints logs what a program writes to standard error, line by line and not without bound.
type complaints struct {
	log     *slog.Logger
	command string
	minute  time.Time
	lines   int
}

const complaintsPerMinute = 60

func (c *complaints) Write(b []byte) (int, error) {
	if now := time.Now(); now.Sub(c.minute) > time.Minute {
		c.minute, c.lines = now, 0
	}
	if c.lines++; c.lines <= complaintsPerMinute {
		c.log.Warn("a program complains", "command", c.command, "stderr", string(b[:min(len(b), maxComplaint)]))
	}
	return len(b), nil
}
