package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"customhouse/compat"
	"customhouse/config"
	"customhouse/transfer"

	"github.com/spf13/cobra"
)

// adopting are the flags of `customhouse adopt`.
type adopting struct {
	settings
	verify string
	report string
	dryRun bool
	prune  bool
	follow bool
}

func adoptCommand() *cobra.Command {
	var a adopting
	cmd := &cobra.Command{
		Use:   "adopt CONFIG|FOLDER",
		Short: "Take over the storage of a CNCF distribution registry in place",
		Long: `Adopt reads the storage folder of a registry:2 or registry:3, named itself or by its config.yml, and makes
everything in it part of this registry: repositories, manifests, tags with their history, referrers. No blob is copied:
bytes are read from where they lie, and nothing in the folder is changed, so that the old registry can go on with it. What
is pushed here later goes to the data folder.

The old registry may still take pushes. Adopt again when it has stopped: what has not changed is not read again. An adopt
that was interrupted goes on the same way. --follow repeats it until it is interrupted.

What is wrong in the folder, such as torn links, tags to nowhere, missing or wrong bytes, is told by name and path, and
left out; --report writes all of it to a file, one JSON object a line. To serve at the same time, name the folder as
storage.adopt in the configuration, or with serve --adopt.`,
		Example: `  customhouse adopt /etc/docker/registry/config.yml --dry-run
  customhouse adopt /var/lib/registry --data ./data --report found.jsonl`,
		Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, args[0]) },
	}
	a.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&a.verify, "verify", "manifests", "whose bytes are hashed: `none|manifests|all`; others are when they are first read")
	flags.StringVar(&a.report, "report", "", "`FILE` for all that was found, one JSON object a line")
	flags.BoolVar(&a.dryRun, "dry-run", false, "read and report, and change nothing")
	flags.BoolVar(&a.prune, "prune", false, "also remove what was adopted earlier and has gone from the folder")
	flags.BoolVar(&a.follow, "follow", false, "repeat it until interrupted")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "follow")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "prune")
	return cmd
}

// depths are the values of --verify.
var depths = map[string]transfer.Depth{
	"none": transfer.VerifyNone, "manifests": transfer.VerifyManifests, "all": transfer.VerifyAll,
}

func (a *adopting) run(cmd *cobra.Command, source string) (err error) {
	depth, ok := depths[a.verify]
	if !ok {
		return fmt.Errorf("--verify is %q and not one of none, manifests, all", a.verify)
	}
	folder, err := storageFolder(source)
	if err != nil {
		return err
	}
	layout, err := transfer.OpenLayout(folder)
	if errors.Is(err, fs.ErrPermission) {
		return withHint(err, "run this as the user of that registry")
	}
	if err != nil {
		return withHint(err, "name the folder that holds docker/registry/v2, or the config.yml of the registry")
	}
	defer layout.Close()
	c, _, err := a.load()
	if err != nil {
		return err
	}
	report, err := newReport(a.report, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, report.close()) }()
	opts := transfer.AdoptOptions{
		Verify: depth, DryRun: a.dryRun, Prune: a.prune, ForeignLayers: c.Storage.ForeignLayers, Report: report.add,
	}
	o := &content{}
	if !a.dryRun {
		if o, err = openContent(cmd.Context(), c); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, o.close()) }()
	}
	for {
		if err := a.pass(cmd, o, layout, opts, report); err != nil {
			return err
		}
		if !a.follow || !sleep(cmd.Context(), followEvery) {
			return nil
		}
	}
}

// followEvery is how long a folder is left alone between two passes.
const followEvery = 10 * time.Second

// sleep waits for d and tells whether ctx is still going on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pass adopts once and tells what came of it.
func (a *adopting) pass(cmd *cobra.Command, o *content, layout *transfer.Layout, opts transfer.AdoptOptions, report *report) error {
	opts.Progress = &transfer.Progress{}
	end := showProgress(cmd.ErrOrStderr(), "manifests", opts.Progress.Total.Load, opts.Progress.Manifests.Load)
	done, err := transfer.Adopt(cmd.Context(), o.Registry, layout, opts)
	end()
	if errors.Is(err, context.Canceled) {
		return withHint(errors.New("interrupted"), "adopt again: it goes on where it was")
	}
	if err != nil {
		return err
	}
	verb := "adopted"
	if opts.DryRun {
		verb = "would adopt"
	}
	rate := float64(done.Manifests) / max(done.Duration.Seconds(), 0.001)
	fmt.Fprintf(cmd.OutOrStdout(), "%s %s, %s and %s of %s in %s (%.0f manifests/s); %s unchanged\n",
		verb, count(done.Manifests, "manifest"), count(done.Tags, "tag"), count(done.Blobs, "blob"), count(done.Repositories-done.Unchanged, "repository"),
		done.Duration.Round(time.Millisecond), rate, count(done.Unchanged, "repository"))
	if done.Pruned > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "removed %d tags and manifests that are gone from %s\n", done.Pruned, layout.Source)
	}
	report.summary(done.Findings)
	return nil
}

// storageFolder returns the folder that source names: itself, or the storage folder of the configuration of distribution
// that it is.
func storageFolder(source string) (string, error) {
	info, err := os.Stat(source)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return source, nil
	}
	folder, err := compat.DistributionFolder(source, compat.Options{Lenient: true, Env: os.Environ()})
	if err != nil {
		return "", withHint(err, "name the storage folder in place of the configuration")
	}
	return folder, nil
}

// report takes findings: all of them go to a file, if one was named, and the first to a person.
type report struct {
	stdout io.Writer
	file   *os.File
	out    *bufio.Writer
	shown  int
	err    error
}

// maxShown is how many findings a person is shown.
const maxShown = 40

func newReport(file string, stdout io.Writer) (*report, error) {
	r := &report{stdout: stdout}
	if file == "" {
		return r, nil
	}
	var err error
	r.file, err = os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	r.out = bufio.NewWriter(r.file)
	return r, nil
}

func (r *report) add(f transfer.Finding) {
	if r.file != nil {
		if err := printJSON(r.out, f); err != nil && r.err == nil {
			r.err = err
		}
		return
	}
	if r.shown++; r.shown <= maxShown {
		fmt.Fprintln(r.stdout, printable(f.String())) // whoever could push has chosen the names
	}
}

// summary tells how many findings of each kind there were.
func (r *report) summary(counts map[transfer.Kind]int) {
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(r.stdout, "%7d %s\n", counts[kind], kind)
	}
	if r.file == nil && r.shown > maxShown {
		fmt.Fprintf(r.stdout, "%d findings are not shown; --report FILE writes all of them\n", r.shown-maxShown)
	}
}

func (r *report) close() error {
	if r.file == nil {
		return nil
	}
	return errors.Join(r.err, r.out.Flush(), r.file.Close())
}

// adopt takes over the folder that the configuration names, while the registry serves, and follows it until ctx ends.
func (h *house) adopt(ctx context.Context, c *config.Config) {
	known := map[string]bool{}
	opts := transfer.AdoptOptions{Verify: transfer.VerifyManifests, ForeignLayers: c.Storage.ForeignLayers, Report: func(f transfer.Finding) {
		const most = 10_000 // those that stay wrong are found in every pass
		if text := f.String(); !known[text] && len(known) < most && f.Kind != transfer.DeletedLink && f.Kind != transfer.AbandonedUpload {
			known[text] = true
			h.log.Warn("found while adopting", "kind", f.Kind, "repository", f.Repo, "name", f.Name, "path", f.Path, "detail", f.Detail)
		}
	}}
	last := ""
	for first := true; ; {
		done, err := h.adoptOnce(ctx, c.Storage.Adopt, opts)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, transfer.ErrNoLayout): // nothing was pushed to it yet, perhaps nothing ever will be
			if first {
				h.log.Info("there is nothing to adopt yet", "folder", c.Storage.Adopt)
			}
			first = false
		case err != nil && err.Error() != last:
			h.log.Warn("nothing was adopted; it is tried again", "folder", c.Storage.Adopt, "error", err)
			last = err.Error()
		case err == nil && (first || done.Manifests+done.Tags+done.Blobs > 0):
			h.log.Info("adopted", "folder", c.Storage.Adopt, "repositories", done.Repositories, "unchanged", done.Unchanged,
				"manifests", done.Manifests, "tags", done.Tags, "blobs", done.Blobs, "duration", done.Duration.String())
			first, last = false, ""
		}
		const share = 10 // at most so much of the time goes into looking
		if !sleep(ctx, max(followEvery, share*done.Duration)) {
			return
		}
	}
}

func (h *house) adoptOnce(ctx context.Context, folder string, opts transfer.AdoptOptions) (transfer.Adopted, error) {
	layout, err := transfer.OpenLayout(folder)
	if err != nil {
		return transfer.Adopted{}, err
	}
	done, err := transfer.Adopt(ctx, h.parts.current(), layout, opts)
	return done, errors.Join(err, layout.Close())
}
