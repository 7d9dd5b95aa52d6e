package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"

	"customhouse"
	"customhouse/registry"
	"customhouse/transfer"

	"github.com/spf13/cobra"
)

// importing are the flags of `customhouse import`.
type importing struct {
	settings
	repo   string
	opts   transfer.ImportOptions
	remote transfer.Remote
	env    string // --password-env
	file   string // --password-file
	stdin  bool   // --password-stdin
	ca     string
}

func importCommand() *cobra.Command {
	var i importing
	cmd := &cobra.Command{
		Use:   "import SOURCE",
		Short: "Take images from an OCI image layout, a docker archive or another registry",
		Long: `Import takes what SOURCE holds into this registry:

  FOLDER or FILE.tar                         an OCI image layout, as export, skopeo, crane and buildx write it
  FILE.tar                                   an archive that docker save has written
  docker://HOST[:PORT]/REPOSITORY[:TAG]      images of another registry, with their signatures and other referrers;
                                             without a tag all of them, without a repository all that the catalog shows

Names are those that the source gives, without a host. Where it gives tags only, --repo says which repository they are of.
What is here already is not read again, so an import that was interrupted goes on. An image that cannot be taken is
named, and the others are taken. Nothing is unpacked: hostile archives reach no file.

Credentials for another registry are those of docker login, or --username with a password from an environment variable, a
file or standard input. They are sent to that registry, to hosts of its domain and to those that --trust names.

No server may run on the data folder. Push to a registry that runs with skopeo, crane or oras.`,
		Example: `  customhouse import ./layout --repo team/app
  customhouse import images.tar
  customhouse import docker://registry.example.com/team/app --tag 'v1.*' --username ci --password-env CI_PASSWORD`,
		Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error { return i.run(cmd, args[0]) },
	}
	i.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&i.repo, "repo", "", "`NAME` of the repository that takes everything")
	flags.StringArrayVar(&i.opts.Tags, "tag", nil, "`PATTERN` of tags to take, such as v1.*; may be repeated; without it all, and what has no tag")
	flags.IntVar(&i.opts.Parallel, "parallel", 4, "how many pieces of content are under way at the same time")
	flags.BoolVar(&i.remote.PlainHTTP, "plain-http", false, "reach the other registry without TLS")
	flags.StringVar(&i.ca, "ca", "", "`FILE` with the certificates to trust, in place of the system's")
	flags.StringVarP(&i.remote.Username, "username", "u", "", "`NAME` to log in with at the other registry")
	flags.StringVar(&i.env, "password-env", "", "environment `VARIABLE` that holds the password")
	flags.StringVar(&i.file, "password-file", "", "`FILE` that holds the password")
	flags.BoolVar(&i.stdin, "password-stdin", false, "read the password from standard input")
	flags.StringArrayVar(&i.remote.Trusted, "trust", nil, "`HOST[:PORT]` of another domain that may be given the credentials, and lie in a private network; may be repeated")
	cmd.MarkFlagsMutuallyExclusive("password-env", "password-file", "password-stdin")
	cmd.MarkFlagsMutuallyExclusive("plain-http", "ca")
	cmd.MarkFlagFilename("ca", "pem", "crt")
	return cmd
}

func (i *importing) run(cmd *cobra.Command, source string) (err error) {
	if i.repo != "" {
		if i.opts.Repo, err = customhouse.ParseRepo(i.repo); err != nil {
			return fmt.Errorf("--repo: %w", err)
		}
	}
	for _, pattern := range i.opts.Tags {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("--tag %q: %w", pattern, err)
		}
	}
	take := transfer.ImportFile
	if _, statErr := os.Stat(source); statErr != nil {
		if !errors.Is(statErr, fs.ErrNotExist) {
			return statErr
		}
		remote, err := i.parseRemote(cmd, source)
		if err != nil {
			return err
		}
		take = remote
	}
	c, _, err := i.load()
	if err != nil {
		return err
	}
	o, err := openContent(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	i.opts.Progress = &transfer.ImportProgress{}
	i.opts.Failed = func(_ string, err error) { printError(cmd.ErrOrStderr(), err) }
	end := showProgress(cmd.ErrOrStderr(), "images", i.opts.Progress.Total.Load, i.opts.Progress.Done.Load)
	done, err := take(cmd.Context(), o.Registry, source, i.opts)
	end()
	if err == nil || done.Names > 0 || done.Pieces > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "imported %s: %d pieces of content, %d bytes; %d were here\n", count(done.Names, "image"), done.Pieces, done.Bytes, done.Present)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return withHint(errors.New("interrupted"), "import again: it goes on where it was")
	case errors.Is(err, http.ErrSchemeMismatch):
		return withHint(err, "--plain-http reaches a registry without TLS")
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return withHint(err, "--ca FILE names who has issued its certificate")
	case errors.Is(err, transfer.ErrNoRepository):
		return withHint(err, "name one with --repo")
	case errors.Is(err, transfer.ErrCompressed):
		return withHint(err, "unpack it with gunzip or unzstd: it is read here and there, which a compressed one does not allow")
	}
	if err == nil && done.Failed > 0 {
		return withHint(fmt.Errorf("%d of the images could not be taken; all others are here", done.Failed), "import again to try them anew: what is here is not read again")
	}
	return err
}

// importer is what takes images from a source.
type importer = func(context.Context, *registry.Registry, string, transfer.ImportOptions) (transfer.Imported, error)

// parseRemote returns what takes images from another registry.
func (i *importing) parseRemote(cmd *cobra.Command, source string) (importer, error) {
	if !strings.HasPrefix(source, "docker://") {
		return nil, withHint(fmt.Errorf("%s: no such file or folder", source), "another registry is docker://HOST/REPOSITORY")
	}
	from, err := transfer.ParseRemote(source)
	if errors.Is(err, transfer.ErrCredentials) {
		return nil, withHint(err, "give them with --username, and --password-env, --password-file or --password-stdin")
	}
	if err != nil {
		return nil, err
	}
	from.PlainHTTP, from.Username, from.Trusted = i.remote.PlainHTTP, i.remote.Username, i.remote.Trusted
	switch {
	case i.env != "":
		if from.Password = customhouse.Secret(os.Getenv(i.env)); from.Password == "" {
			return nil, fmt.Errorf("--password-env: %s is not set", i.env)
		}
	case i.file != "":
		f, err := os.Open(i.file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if from.Password, err = readPassword(f); err != nil {
			return nil, fmt.Errorf("%s: %w", i.file, err)
		}
	case i.stdin:
		var err error
		if from.Password, err = await(cmd.Context(), func() (customhouse.Secret, error) { return readPassword(cmd.InOrStdin()) }); err != nil {
			return nil, err
		}
	}
	if i.ca != "" {
		var err error
		if from.CAs, err = readCAs(i.ca); err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
	}
	if (from.Username == "") != (from.Password == "") {
		return nil, errors.New("--username and one of --password-env, --password-file and --password-stdin go together")
	}
	return func(ctx context.Context, r *registry.Registry, _ string, opts transfer.ImportOptions) (transfer.Imported, error) {
		return transfer.ImportRemote(ctx, r, from, opts)
	}, nil
}
