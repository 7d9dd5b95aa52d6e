package main

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"customhouse/transfer"

	"github.com/spf13/cobra"
)

// formats are the values of --format.
var formats = map[string]transfer.Format{
	"distribution": transfer.FormatDistribution, "oci": transfer.FormatOCI, "tar": transfer.FormatTar,
}

func exportCommand() *cobra.Command {
	var s settings
	var format, reportFile string
	var opts transfer.ExportOptions
	cmd := &cobra.Command{
		Use:   "export OUT",
		Short: "Write content for other programs: a distribution folder, an OCI image layout or a tar of it",
		Long: `Export writes repositories to OUT, which must not be there:

  distribution   a storage folder that a registry:2 or registry:3 serves (storage.filesystem.rootdirectory), with tags,
                 their history and times
  oci            a folder that is an OCI image layout; names in its index.json are tags, or repository:tag when it holds
                 more than one repository
  tar            the same in a tar file

Every byte is verified on its way. OUT gets its name when all of it is on disk; before, and after a failure, it is not
there. What is missing or wrong is named and makes it fail, unless --keep-going leaves it out. A server may run on the
data folder meanwhile; what it takes in later is not in OUT. Files are readable for the user who exports: chown them for a
registry that runs as somebody else.`,
		Example: `  customhouse export --data ./data /srv/registry
  customhouse export --format oci --repo team/app --repo 'base/**' ./images
  customhouse export --link /srv/registry-back`,
		Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			var ok bool
			if opts.Format, ok = formats[format]; !ok {
				return fmt.Errorf("--format is %q and not one of %s", format, strings.Join(slices.Sorted(maps.Keys(formats)), ", "))
			}
			for _, pattern := range opts.Patterns {
				if _, err := path.Match(pattern, ""); err != nil {
					return fmt.Errorf("--repo %q: %w", pattern, err)
				}
			}
			c, _, err := s.load()
			if err != nil {
				return err
			}
			o, err := openContentBeside(cmd.Context(), c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, o.close()) }()
			report, err := newReport(reportFile, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, report.close()) }()
			out, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			opts.Report, opts.Progress = report.add, &transfer.ExportProgress{}
			end := showProgress(cmd.ErrOrStderr(), "bytes", opts.Progress.Total.Load, opts.Progress.Bytes.Load)
			done, err := transfer.Export(cmd.Context(), o.Registry, out, opts)
			end()
			if errors.Is(err, transfer.ErrIncomplete) {
				return withHint(fmt.Errorf("nothing was written: %w", err), "push it again, or leave it out with --keep-going")
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "exported %s and %s of %s to %s: %d pieces of content, %d bytes, %d of them linked\n",
				count(done.Manifests, "manifest"), count(done.Tags, "tag"), count(done.Repositories, "repository"), args[0], done.Blobs, done.Bytes, done.Linked)
			report.summary(done.Findings)
			return nil
		},
	}
	s.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&format, "format", "distribution", "`distribution|oci|tar`")
	flags.StringArrayVar(&opts.Patterns, "repo", nil, "`PATTERN` of repositories: * is part of a path component, /** what is below; may be repeated; without it all")
	flags.BoolVar(&opts.Link, "link", false, "make hard links to blobs in place of copies, where OUT is on their file system")
	flags.BoolVar(&opts.KeepGoing, "keep-going", false, "leave out what is missing or wrong")
	flags.StringVar(&reportFile, "report", "", "`FILE` for what is missing or wrong, one JSON object a line")
	cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]cobra.Completion{"distribution", "oci", "tar"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
