package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// What /proc (proc(5)) tells about a server and about the machine; zero where there is no /proc.

// tick is the unit of CPU time in /proc on every architecture that Go knows (USER_HZ).
const tick = 10 * time.Millisecond

// peakMemory returns the most bytes that a process had resident since resetPeakMemory.
func peakMemory(pid int) int64 { return statusBytes(pid, "VmHWM:") }

// residentMemory returns the bytes that a process has resident.
func residentMemory(pid int) int64 { return statusBytes(pid, "VmRSS:") }

// resetPeakMemory lets peakMemory begin anew.
func resetPeakMemory(pid int) {
	os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // without it the peak is that since the start
}

func statusBytes(pid int, field string) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(b, []byte(field))
	line, _, _ := bytes.Cut(rest, []byte(" kB"))
	n, _ := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	return n << 10
}

// foreignTime returns the CPU time in user mode of all programs since the machine started, without this one and the
// server pid (0 for none). Kernel threads are not in it, so the writing back of what a push left does not count.
func foreignTime(pid int) time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[:min(len(b), 200)])) // cpu user nice system ...
	if len(f) < 3 {
		return 0
	}
	ticks := func(s string) time.Duration {
		n, _ := strconv.ParseInt(s, 10, 64)
		return time.Duration(n) * tick
	}
	all := ticks(f[1]) + ticks(f[2])
	for _, p := range []int{pid, os.Getpid()} {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			continue
		}
		_, rest, _ := bytes.Cut(stat, []byte(") ")) // the name before it may contain spaces
		if f := strings.Fields(string(rest)); len(f) > 11 {
			all -= ticks(f[11])
		}
	}
	return all
}

// busyShare is how much of a core other programs may use before a measurement is marked as disturbed.
const busyShare = 0.15

// awaitQuiet waits until other programs leave the machine alone for a moment, but no longer than limit.
func awaitQuiet(ctx context.Context, pid int, limit time.Duration) {
	const moment = 200 * time.Millisecond
	for end := time.Now().Add(limit); time.Now().Before(end) && ctx.Err() == nil; {
		before := foreignTime(pid)
		pause(ctx, moment)
		if (foreignTime(pid) - before).Seconds() < busyShare*moment.Seconds() {
			return
		}
	}
}

// describeMachine names the processor, the number of cores, the kernel and Go.
func describeMachine() string {
	text := fmt.Sprintf("%d cores, %s", runtime.NumCPU(), runtime.Version())
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		text = fmt.Sprintf("%s, Linux %s", text, bytes.TrimSpace(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(b), "model name")
		line, _, _ := strings.Cut(rest, "\n")
		if name := strings.TrimSpace(strings.TrimLeft(line, "\t :")); name != "" {
			text = name + ", " + text
		}
	}
	return text
}
