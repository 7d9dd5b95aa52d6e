package program

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// PluginOptions are the settings of a Plugin.
type PluginOptions struct {
	Environment map[string]string // of the module: WASI's, which nobody else sees
	Timeout     time.Duration     // of a question, waiting for its turn included; 0 is DefaultTimeout
	Memory      int64             // bytes of an instance; 0 is 64 MiB
	Instances   int               // at once; 0 is twice GOMAXPROCS
	Log         *slog.Logger      // told what the module writes to its standard output and error; nil is silent
}

// The functions of a module, which docs/programs.md tells about.
const (
	abiVersion = 1

	fnABI   = "customhouse_abi"   // () -> i32: the version of all this, 1
	fnAlloc = "customhouse_alloc" // (size i32) -> i32: where a question of that size may be written
	fnAsk   = "customhouse_ask"   // (question i32, size i32) -> i64: where the answer is << 32 | its size
)

const (
	pageSize      = 64 << 10
	defaultMemory = 64 << 20
	longestSleep  = 10 * time.Millisecond // of a module at once: what sleeps cannot be ended
)

// Plugin calls a WebAssembly module. The module has memory, a clock, random numbers and WASI's environment, and neither
// files nor network. An instance answers one question at a time; one that traps or takes too long is thrown away.
type Plugin struct {
	o       PluginOptions
	path    string
	runtime wazero.Runtime
	module  wazero.CompiledModule
	turns   *turns

	life context.Context // of the instances
	end  context.CancelFunc

	mu     sync.Mutex
	idle   []*instance
	asking sync.WaitGroup
}

// instance is a module that runs.
type instance struct {
	module     api.Module
	alloc, ask api.Function
}

var _ Asker = (*Plugin)(nil)

// NewPlugin compiles the module in the file at path and starts one instance, to see that it is what it should be.
func NewPlugin(ctx context.Context, path string, o PluginOptions) (_ *Plugin, err error) {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	if o.Instances <= 0 {
		o.Instances = 2 * runtime.GOMAXPROCS(0)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pages := uint32(min(max(o.Memory/pageSize, 1), 1<<16))
	p := &Plugin{o: o, path: path, turns: newTurns(o.Instances, waitingFor*o.Instances)}
	p.life, p.end = context.WithCancel(context.Background())
	features := api.CoreFeaturesV2.SetEnabled(api.CoreFeatureReferenceTypes, false) // with it tables would grow, which nothing bounds
	p.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCloseOnContextDone(true).WithMemoryLimitPages(pages).WithCoreFeatures(features))
	defer func() {
		if err != nil {
			p.end()
			err = errors.Join(fmt.Errorf("%s: %w", path, err), p.runtime.Close(context.WithoutCancel(ctx)))
		}
	}()
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, p.runtime); err != nil {
		return nil, err
	}
	if p.module, err = p.runtime.CompileModule(ctx, text); err != nil {
		return nil, fmt.Errorf("no WebAssembly module that can be used: %w", err)
	}
	if err := checkModule(p.module); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, DefaultTimeout, ErrTimeout)
	defer cancel()
	first, err := p.instantiate(ctx)
	if err != nil {
		return nil, err
	}
	p.idle = append(p.idle, first)
	return p, nil
}

// checkModule tells what a module lacks, and what it wants that there is not.
func checkModule(m wazero.CompiledModule) error {
	const i32, i64 = api.ValueTypeI32, api.ValueTypeI64
	for _, f := range m.ImportedFunctions() {
		if module, name, _ := f.Import(); module != wasi_snapshot_preview1.ModuleName {
			return fmt.Errorf("the module imports %s.%s; there is %s only", module, name, wasi_snapshot_preview1.ModuleName)
		}
	}
	if _, ok := m.ExportedMemories()["memory"]; !ok {
		return errors.New("the module does not export its memory")
	}
	exported := m.ExportedFunctions()
	for name, want := range map[string][2][]api.ValueType{fnABI: {nil, {i32}}, fnAlloc: {{i32}, {i32}}, fnAsk: {{i32, i32}, {i64}}} {
		f, ok := exported[name]
		if !ok {
			return fmt.Errorf("the module does not export the function %s", name)
		}
		if !slices.Equal(f.ParamTypes(), want[0]) || !slices.Equal(f.ResultTypes(), want[1]) {
			return fmt.Errorf("the module's function %s has other types than it should", name)
		}
	}
	return nil
}

// instantiate starts an instance.
func (p *Plugin) instantiate(ctx context.Context) (*instance, error) {
	says := &complaints{log: p.o.Log, command: p.path}
	c := wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize").
		WithStdout(says).WithStderr(says).WithRandSource(rand.Reader).WithSysWalltime().WithSysNanotime().
		WithNanosleep(func(ns int64) { time.Sleep(min(time.Duration(ns), longestSleep)) })
	for _, key := range slices.Sorted(maps.Keys(p.o.Environment)) {
		c = c.WithEnv(key, p.o.Environment[key])
	}
	m, err := p.runtime.InstantiateModule(ctx, p.module, c)
	if err != nil {
		return nil, p.reason(ctx, err)
	}
	version, err := m.ExportedFunction(fnABI).Call(ctx)
	if err == nil && uint32(version[0]) != abiVersion {
		err = fmt.Errorf("the module is made for version %d of the interface; this is version %d", uint32(version[0]), abiVersion)
	}
	if err != nil {
		return nil, errors.Join(p.reason(ctx, err), m.Close(context.WithoutCancel(ctx)))
	}
	return &instance{m, m.ExportedFunction(fnAlloc), m.ExportedFunction(fnAsk)}, nil
}

// reason makes of the end of a module why it has ended.
func (p *Plugin) reason(ctx context.Context, err error) error {
	var exit *sys.ExitError
	switch {
	case p.life.Err() != nil:
		return ErrClosed
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &exit):
		return fmt.Errorf("the module has ended itself with code %d", exit.ExitCode())
	}
	return fmt.Errorf("the module has failed: %w", err)
}

// Close ends the questions under way and the instances.
func (p *Plugin) Close() error {
	p.mu.Lock()
	p.end()
	p.mu.Unlock()
	p.asking.Wait()
	return p.runtime.Close(context.Background())
}

// Ask implements Asker.
func (p *Plugin) Ask(ctx context.Context, q Question) (Answer, error) {
	question, err := encode(&q, 0)
	if err != nil {
		return Answer{Result: Deny, Reason: err.Error()}, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.o.Timeout, ErrTimeout)
	defer cancel()
	if err := p.turns.wait(ctx); err != nil {
		return Answer{}, err
	}
	defer p.turns.done()
	i, err := p.take()
	if err != nil {
		return Answer{}, err
	}
	defer p.asking.Done()
	defer context.AfterFunc(p.life, cancel)()
	if i == nil {
		if i, err = p.instantiate(ctx); err != nil {
			return Answer{}, err
		}
	}
	text, err := i.answer(ctx, question)
	if err != nil {
		return Answer{}, errors.Join(p.reason(ctx, err), i.module.Close(context.WithoutCancel(ctx)))
	}
	p.mu.Lock()
	p.idle = append(p.idle, i)
	p.mu.Unlock()
	answer, _, err := decode(text, &q)
	return answer, err
}

// take returns an idle instance, nil if there is none. Without an error, whoever takes one tells asking when it is done.
func (p *Plugin) take() (*instance, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life.Err() != nil {
		return nil, ErrClosed
	}
	p.asking.Add(1)
	if len(p.idle) == 0 {
		return nil, nil
	}
	i := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	return i, nil
}

// answer asks the instance. The text is a copy.
func (i *instance) answer(ctx context.Context, question []byte) ([]byte, error) {
	size := uint64(len(question))
	at, err := i.alloc.Call(ctx, size)
	if err != nil {
		return nil, err
	}
	if !i.module.Memory().Write(uint32(at[0]), question) {
		return nil, fmt.Errorf("%s returns no place in memory", fnAlloc)
	}
	packed, err := i.ask.Call(ctx, uint64(uint32(at[0])), size)
	if err != nil {
		return nil, err
	}
	length := uint32(packed[0])
	if length > maxAnswer {
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	text, ok := i.module.Memory().Read(uint32(packed[0]>>32), length)
	if !ok {
		return nil, fmt.Errorf("%s returns no place in memory", fnAsk)
	}
	return slices.Clone(text), nil
}
