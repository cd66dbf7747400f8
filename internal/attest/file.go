package attest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// TokensFile is where the tokens that are out are kept, without their secrets.
const TokensFile = "ca/tokens.json"

// maxFile bounds that file in bytes.
const maxFile = 16 << 20

const fileFormat = "lateen-tokens"

type tokensFile struct {
	Format  string     `json:"format"`
	Version int        `json:"version"`
	Tokens  []tokenOut `json:"tokens"`
}

type tokenOut struct {
	SHA256   string     `json:"sha256"` // of the token, hexadecimal
	ID       string     `json:"id"`
	Workload string     `json:"workload"`
	Address  netip.Addr `json:"address,omitzero"`
	Further  netip.Addr `json:"further,omitzero"`
	Expires  time.Time  `json:"expires"`
	Key      string     `json:"key,omitempty"` // SHA-256 of the public key that it was used for
}

func encode(records map[digest]record) ([]byte, error) {
	file := tokensFile{Format: fileFormat, Version: 1, Tokens: []tokenOut{}}
	for d, r := range records {
		out := tokenOut{
			SHA256: hex.EncodeToString(d[:]), ID: r.peer.ID.String(), Workload: r.peer.Workload, Address: r.peer.Address, Further: r.peer.Further,
			Expires: r.expires.UTC(),
		}
		if r.key != (digest{}) {
			out.Key = hex.EncodeToString(r.key[:])
		}
		file.Tokens = append(file.Tokens, out)
	}
	slices.SortFunc(file.Tokens, func(a, b tokenOut) int { return strings.Compare(a.SHA256, b.SHA256) })
	return json.Marshal(file)
}

// load reads what [encode] wrote. Without a file there are no tokens.
func load(folder *disk.Folder, trustDomain string) (map[digest]record, error) {
	data, err := folder.Read(TokensFile, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var file tokensFile
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return nil, fmt.Errorf("%s: %w", folder.Path(TokensFile), err)
	}
	if file.Format != fileFormat || file.Version != 1 || len(file.Tokens) > MostTokens {
		return nil, fmt.Errorf("%s: it is no list of join tokens", folder.Path(TokensFile))
	}
	records := map[digest]record{}
	for _, out := range file.Tokens {
		d, r, err := out.record()
		if err == nil && r.peer.ID.TrustDomain != trustDomain {
			err = fmt.Errorf("%s is of another trust domain", r.peer)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", folder.Path(TokensFile), err)
		}
		records[d] = r
	}
	return records, nil
}

func (o tokenOut) record() (digest, record, error) {
	id, err := identity.Parse(o.ID)
	if err != nil {
		return digest{}, record{}, err
	}
	r := record{peer: identity.Peer{ID: id, Workload: o.Workload, Address: o.Address, Further: o.Further}, expires: o.Expires}
	if err := checkPeer(r.peer); err != nil {
		return digest{}, record{}, err
	}
	d, err := parseDigest(o.SHA256)
	if err == nil && o.Key != "" {
		r.key, err = parseDigest(o.Key)
	}
	return d, r, err
}

func parseDigest(text string) (digest, error) {
	data, err := hex.DecodeString(text)
	if err != nil || len(data) != len(digest{}) {
		return digest{}, errors.New("a digest has 64 hexadecimal digits")
	}
	return digest(data), nil
}
