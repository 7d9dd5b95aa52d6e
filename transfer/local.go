package transfer

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"customhouse"
	"customhouse/registry"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content/oci"
)

// ImportFile takes the images of an OCI image layout, a folder or a tar file, or of an archive that docker save has
// written. What comes is untrusted: nothing of it is unpacked, it is read from where it lies, and everything enters as a
// push does. ErrNoRepository: the source names tags only, and opts no repository.
func ImportFile(ctx context.Context, r *registry.Registry, source string, opts ImportOptions) (Imported, error) {
	info, err := os.Stat(source)
	if err != nil {
		return Imported{}, err
	}
	var files fs.FS
	if info.IsDir() {
		root, err := os.OpenRoot(source)
		if err != nil {
			return Imported{}, err
		}
		defer root.Close()
		files = rootFS{root}
	} else {
		a, err := openArchive(source)
		if err != nil {
			return Imported{}, err
		}
		defer a.Close()
		files = a
	}
	im := &importing{registry: r, opts: opts}
	index, err := readSmall(files, "index.json", maxIndex)
	if err == nil {
		return im.layout(ctx, files, index)
	}
	list, listErr := readSmall(files, "manifest.json", maxIndex)
	if listErr == nil {
		return im.dockerArchive(ctx, files, list)
	}
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(listErr, fs.ErrNotExist) {
		return Imported{}, errors.Join(err, listErr)
	}
	return Imported{}, fmt.Errorf("%s holds neither index.json, as an OCI image layout does, nor manifest.json, as docker save writes it", source)
}

// maxIndex is how many bytes the table of contents of a source may have.
const maxIndex = 4 * registry.MaxManifestSize

// layout takes the images of an OCI image layout.
func (im *importing) layout(ctx context.Context, files fs.FS, index []byte) (Imported, error) {
	if _, err := customhouse.ParseJSON(index); err != nil {
		return Imported{}, fmt.Errorf("index.json: %w", err)
	}
	var list ocispec.Index
	if err := json.Unmarshal(index, &list); err != nil {
		return Imported{}, fmt.Errorf("index.json: %w", err)
	}
	var all []named
	for i, d := range list.Manifests {
		n, err := im.entry(d)
		if err != nil {
			return Imported{}, fmt.Errorf("index.json: manifests[%d]: %w", i, err)
		}
		if im.opts.wants(n.tag) {
			all = append(all, n)
		}
	}
	names, err := im.take(ctx, oci.NewStorageFromFS(files), all)
	return im.done(names), err
}

// entry reads an entry of index.json.
func (im *importing) entry(d ocispec.Descriptor) (named, error) {
	n := named{Descriptor: d, repo: im.opts.Repo}
	if _, err := customhouse.ParseDigest(d.Digest.String()); err != nil {
		return n, explain(err)
	}
	if !isManifest(d.MediaType) {
		return n, fmt.Errorf("%.200q is not a type of manifest", d.MediaType)
	}
	repo, err := customhouse.ParseRepo(d.Annotations[annotationRepository])
	if err == nil && n.repo.IsZero() {
		n.repo = repo
	}
	for _, key := range []string{"io.containerd.image.name", annotationRefName} {
		if name := d.Annotations[key]; name != "" {
			n.repo, n.tag, err = parseName(name, n.repo)
			return n, err
		}
	}
	if n.repo.IsZero() {
		return n, ErrNoRepository
	}
	return n, nil
}

// dockerImage is an image in the manifest.json of docker save.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerArchive takes the images of an archive that docker save has written. Layers that lie in it as they are get
// compressed, as a push by Docker does.
func (im *importing) dockerArchive(ctx context.Context, files fs.FS, list []byte) (Imported, error) {
	if im.opts.Progress == nil {
		im.opts.Progress = &ImportProgress{}
	}
	if _, err := customhouse.ParseJSON(list); err != nil {
		return Imported{}, fmt.Errorf("manifest.json: %w", err)
	}
	var images []dockerImage
	if err := json.Unmarshal(list, &images); err != nil {
		return Imported{}, fmt.Errorf("manifest.json: %w", err)
	}
	im.opts.Progress.Total.Add(int64(len(images)))
	var done Imported
	for i, image := range images {
		names, err := im.dockerNames(image)
		if err != nil {
			return done, fmt.Errorf("manifest.json: image %d: %w", i, err)
		}
		for _, n := range names {
			if err := im.dockerImage(ctx, files, image, n); err != nil {
				return done, fmt.Errorf("%s:%s: %w", n.repo, n.tag, err)
			}
			done.Names++
		}
		im.opts.Progress.Done.Add(1)
	}
	done.Pieces, done.Bytes = im.pieces.Load(), im.bytes.Load()
	return done, nil
}

func (im *importing) dockerNames(image dockerImage) ([]named, error) {
	if len(image.RepoTags) == 0 {
		if im.opts.Repo.IsZero() {
			return nil, ErrNoRepository
		}
		return []named{{repo: im.opts.Repo}}, nil
	}
	var names []named
	for _, name := range image.RepoTags {
		repo, tag, err := parseName(name, im.opts.Repo)
		if err != nil {
			return nil, err
		}
		if im.opts.wants(tag) {
			names = append(names, named{repo: repo, tag: tag})
		}
	}
	return names, nil
}

// The types that Docker gives what it pushes.
const (
	typeDockerConfig = "application/vnd.docker.container.image.v1+json"
	typeDockerLayer  = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

func (im *importing) dockerImage(ctx context.Context, files fs.FS, image dockerImage, n named) error {
	p := im.registry.Repository(n.repo)
	config, err := readSmall(files, image.Config, registry.MaxManifestSize)
	if err != nil {
		return fmt.Errorf("config %.200q: %w", image.Config, err)
	}
	var said struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &said); err != nil {
		return fmt.Errorf("config %.200q: %w", image.Config, err)
	}
	if len(said.RootFS.DiffIDs) != len(image.Layers) {
		return fmt.Errorf("config %.200q names %d layers and manifest.json %d", image.Config, len(said.RootFS.DiffIDs), len(image.Layers))
	}
	digest := customhouse.DigestOf(customhouse.SHA256, config)
	if err := p.Monolithic(ctx, digest, int64(len(config)), bytes.NewReader(config)); err != nil {
		return err
	}
	type descriptor struct {
		MediaType string             `json:"mediaType"`
		Size      int64              `json:"size"`
		Digest    customhouse.Digest `json:"digest"`
	}
	layers := []descriptor{}
	for i, name := range image.Layers {
		d, err := im.dockerLayer(ctx, p, files, name, said.RootFS.DiffIDs[i])
		if err != nil {
			return fmt.Errorf("layer %.200q: %w", name, err)
		}
		layers = append(layers, descriptor{typeDockerLayer, d.Size, d.Digest})
	}
	manifest, err := json.Marshal(struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}{2, customhouse.MediaTypeDockerManifest, descriptor{typeDockerConfig, int64(len(config)), digest}, layers})
	if err != nil {
		return err
	}
	push := registry.Push{Bytes: manifest}
	if !n.tag.IsZero() {
		push.Tags = []customhouse.Tag{n.tag}
	}
	_, err = p.PushManifest(ctx, push)
	return explain(err)
}

// dockerLayer brings a layer into the repository, compressed, and makes sure that it is the one that the config names.
func (im *importing) dockerLayer(ctx context.Context, p registry.Repository, files fs.FS, name, diffID string) (d customhouse.Descriptor, err error) {
	want, err := customhouse.ParseDigest(diffID)
	if err != nil {
		return d, explain(err)
	}
	f, err := files.Open(name)
	if err != nil {
		return d, err
	}
	defer f.Close()
	u, err := p.BeginUpload(ctx, "customhouse import", customhouse.SHA256)
	if err != nil {
		return d, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Cancel(context.WithoutCancel(ctx)))
		}
	}()
	packed, pipe := io.Pipe()
	read := make(chan error, 1)
	sum, plain := customhouse.SHA256.New(), want.Algorithm().New()
	go func() {
		err := pack(io.MultiWriter(pipe, sum), plain, f)
		pipe.CloseWithError(err) // nil ends it
		read <- err
	}()
	size, err := u.Append(ctx, registry.AtEnd, -1, packed)
	packed.CloseWithError(io.ErrClosedPipe) // where Append has given up, pack has to as well
	if err := errors.Join(err, <-read); err != nil {
		return d, err
	}
	if got := customhouse.DigestSum(want.Algorithm(), plain); got != want {
		return d, fmt.Errorf("its content has the digest %s, and the config names %s", got, want)
	}
	d = customhouse.Descriptor{Digest: customhouse.DigestSum(customhouse.SHA256, sum), Size: size}
	if err := u.Finish(ctx, d.Digest, registry.AtEnd, 0, bytes.NewReader(nil)); err != nil {
		return d, err
	}
	im.pieces.Add(1)
	im.bytes.Add(size)
	return d, nil
}

// pack copies a layer to w, compressed unless it is already, and its plain content to plain.
func pack(w, plain io.Writer, r io.Reader) error {
	var magic [2]byte
	n, err := io.ReadFull(r, magic[:])
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return err
	}
	r = io.MultiReader(bytes.NewReader(magic[:n]), r)
	if magic == [2]byte{0x1f, 0x8b} {
		z, err := gzip.NewReader(io.TeeReader(r, w))
		if err != nil {
			return err
		}
		if _, err := io.Copy(plain, z); err != nil {
			return err
		}
		_, err = io.Copy(w, r) // what lies behind belongs to the file
		return err
	}
	z := gzip.NewWriter(w) // without a name and a time: the same layer is the same blob each time
	if _, err := io.Copy(io.MultiWriter(z, plain), r); err != nil {
		return err
	}
	return z.Close()
}
