package customhouse

// Media types of manifests (OCI image-spec "Media Types", Docker "Image Manifest V 2, Schema 2").
const (
	MediaTypeImageManifest    = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeImageIndex       = "application/vnd.oci.image.index.v1+json"
	MediaTypeArtifactManifest = "application/vnd.oci.artifact.manifest.v1+json" // withdrawn before image-spec 1.1, still pushed
	MediaTypeDockerManifest   = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList       = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// Descriptor names content: its type, address and size in bytes (OCI image-spec "Content Descriptors").
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       Digest            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// MarshalText writes d as it stands in a descriptor.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.s), nil }

// UnmarshalText reads what MarshalText writes. The error is a DIGEST_INVALID.
func (d *Digest) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*d = Digest{}
		return nil
	}
	*d, err = ParseDigest(string(text))
	return err
}
