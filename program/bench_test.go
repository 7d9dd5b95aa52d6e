package program_test

import (
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"customhouse/program"
)

// checkScript is a program as docker_auth ships one.
const checkScript = `read u p
if [ "$u" = "alice" ] && [ "$p" = "secret" ]; then exit 0; fi
exit 1`

// BenchmarkExec compares a question with what it cannot be faster than: starting the same program with the same bytes to
// read and nothing else. The two take turns, so that both meet the same machine.
func BenchmarkExec(b *testing.B) {
	heap := make([]byte, 512<<20) // as a server may hold: to start a process must not copy its page table
	for i := 0; i < len(heap); i += 4096 {
		heap[i] = 1
	}
	path := script(b, checkScript)
	b.Run("uncached", func(b *testing.B) {
		e, err := program.NewExec(path, program.ExecOptions{})
		if err != nil {
			b.Fatal(err)
		}
		defer e.Close()
		var bare, asked, bareCPU, askedCPU time.Duration
		for b.Loop() {
			begin, cpu := time.Now(), used()
			forkAndExec(b, path, "alice secret")
			bare, bareCPU = bare+time.Since(begin), bareCPU+used()-cpu
			begin, cpu = time.Now(), used()
			if answer, err := e.Ask(b.Context(), login("alice", "secret")); err != nil || answer.Result != program.Allow {
				b.Fatalf("Ask = %v, %v", answer, err)
			}
			asked, askedCPU = asked+time.Since(begin), askedCPU+used()-cpu
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(b.N)/bare.Seconds(), "fork+exec/s")
		b.ReportMetric(float64(b.N)/asked.Seconds(), "questions/s")
		b.ReportMetric(bare.Seconds()/asked.Seconds(), "of_fork+exec")
		b.ReportMetric(bareCPU.Seconds()/askedCPU.Seconds(), "of_its_CPU") // whatever else the machine does
	})
	b.Run("remembered", func(b *testing.B) {
		e, err := program.NewExec(path, program.ExecOptions{})
		if err != nil {
			b.Fatal(err)
		}
		c := program.NewCache(e, program.CacheOptions{Allowed: time.Minute})
		defer c.Close()
		benchmark(b, c)
	})
	_ = heap[0]
}

// used returns the processor time of this process and of its children that have ended.
func used() (d time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err == nil {
			d += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return d
}

// forkAndExec runs the program at path without any care.
func forkAndExec(b *testing.B, path, stdin string) {
	b.Helper()
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC); err != nil {
		b.Fatal(err)
	}
	syscall.Write(pipe[1], []byte(stdin))
	syscall.Close(pipe[1])
	pid, err := syscall.ForkExec(path, []string{path}, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{uintptr(pipe[0]), 1, 2}})
	syscall.Close(pipe[0])
	if err != nil {
		b.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.ExitStatus() != 0 {
		b.Fatalf("Wait4 = %v, exit %d", err, status.ExitStatus())
	}
}

func benchmark(b *testing.B, a program.Asker) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if answer, err := a.Ask(b.Context(), login("alice", "secret")); err != nil || answer.Result != program.Allow {
			b.Fatalf("Ask = %v, %v", answer, err)
		}
	}
}

// BenchmarkWorker asks a worker written in Go, eight at a time.
func BenchmarkWorker(b *testing.B) {
	for _, pipeline := range []int{1, 16} {
		b.Run("pipeline="+strconv.Itoa(pipeline), func(b *testing.B) {
			w := newWorker(b, os.Args[0], program.WorkerOptions{
				Environment: map[string]string{"CUSTOMHOUSE_TEST_WORKER": "1"}, Pipeline: pipeline,
			})
			eight(b, w)
		})
	}
}

func eight(b *testing.B, a program.Asker) {
	b.Helper()
	b.SetParallelism(max(1, 8/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if answer, err := a.Ask(b.Context(), login("alice", "secret")); err != nil || answer.Result != program.Allow {
				b.Errorf("Ask = %v, %v", answer, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "questions/s")
}

// BenchmarkWebhook asks a server in this process, eight at a time.
func BenchmarkWebhook(b *testing.B) {
	url, _ := answering(b, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"result":"allow"}`)
	})
	eight(b, newWebhook(b, url, program.WebhookOptions{Secret: "a secret that both know"}))
}

// BenchmarkPlugin asks the examples.
func BenchmarkPlugin(b *testing.B) {
	for name, path := range map[string]func() string{
		"c":  func() string { return "../examples/plugin/plugin.wasm" },
		"go": func() string { return goPlugin(b) },
	} {
		b.Run(name, func(b *testing.B) {
			p := newPlugin(b, path(), program.PluginOptions{Environment: map[string]string{"CICD_SECRET": "secret"}})
			b.ResetTimer()
			for b.Loop() {
				if answer, err := p.Ask(b.Context(), login("cicd", "secret")); err != nil || answer.Result != program.Allow {
					b.Fatalf("Ask = %v, %v", answer, err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "questions/s")
		})
	}
}
