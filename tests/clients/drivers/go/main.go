// The journey's calls made with the AWS SDK for Go v2: one call a line, one answer a line.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"sort"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

type call struct {
	Op, Bucket, Key, Source, File, Prefix, Delimiter string
	Version                                          *string
	First, Last                                      *int64
	Metadata, Tags                                   map[string]string
	Keys                                             []string
}

type listing struct {
	Keys     []string `json:"keys"`
	Prefixes []string `json:"prefixes"`
}

type version struct {
	Version  string `json:"version"`
	Latest   bool   `json:"latest"`
	Deleted  bool   `json:"deleted"`
	modified time.Time
}

var (
	background = context.Background()
	client     = s3.New(s3.Options{
		BaseEndpoint: aws.String(os.Getenv("ENDPOINT")),
		Region:       os.Getenv("AWS_REGION"),
		UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(
			os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), ""),
	})
)

func put(c call) error {
	file, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = client.PutObject(background, &s3.PutObjectInput{
		Bucket: &c.Bucket, Key: &c.Key, Body: file, Metadata: c.Metadata})
	return err
}

func upload(c call) error {
	file, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer file.Close()
	manager := transfermanager.New(client)
	_, err = manager.UploadObject(background, &transfermanager.UploadObjectInput{
		Bucket: &c.Bucket, Key: &c.Key, Body: file})
	return err
}

func get(c call) error {
	input := &s3.GetObjectInput{Bucket: &c.Bucket, Key: &c.Key, VersionId: c.Version}
	if c.First != nil {
		input.Range = aws.String(fmt.Sprintf("bytes=%d-%d", *c.First, *c.Last))
	}
	answer, err := client.GetObject(background, input)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	file, err := os.Create(c.File)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(file, answer.Body)
	return err
}

func list(c call) (*listing, error) {
	found := &listing{Keys: []string{}, Prefixes: []string{}}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{
		Bucket: &c.Bucket, Prefix: &c.Prefix, Delimiter: &c.Delimiter})
	for pages.HasMorePages() {
		page, err := pages.NextPage(background)
		if err != nil {
			return nil, err
		}
		for _, entry := range page.Contents {
			found.Keys = append(found.Keys, *entry.Key)
		}
		for _, entry := range page.CommonPrefixes {
			found.Prefixes = append(found.Prefixes, *entry.Prefix)
		}
	}
	return found, nil
}

func putTags(c call) error {
	set := []types.Tag{}
	for name, value := range c.Tags {
		set = append(set, types.Tag{Key: aws.String(name), Value: aws.String(value)})
	}
	_, err := client.PutObjectTagging(background, &s3.PutObjectTaggingInput{
		Bucket: &c.Bucket, Key: &c.Key, Tagging: &types.Tagging{TagSet: set}})
	return err
}

func tags(c call) (map[string]string, error) {
	answer, err := client.GetObjectTagging(background, &s3.GetObjectTaggingInput{Bucket: &c.Bucket, Key: &c.Key})
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, tag := range answer.TagSet {
		found[*tag.Key] = *tag.Value
	}
	return found, nil
}

func versions(c call) ([]version, error) {
	answer, err := client.ListObjectVersions(background, &s3.ListObjectVersionsInput{Bucket: &c.Bucket, Prefix: &c.Key})
	if err != nil {
		return nil, err
	}
	found := []version{}
	for _, entry := range answer.Versions {
		found = append(found, version{*entry.VersionId, *entry.IsLatest, false, *entry.LastModified})
	}
	for _, entry := range answer.DeleteMarkers {
		found = append(found, version{*entry.VersionId, *entry.IsLatest, true, *entry.LastModified})
	}
	sort.SliceStable(found, func(one, other int) bool {
		if found[one].Latest != found[other].Latest {
			return found[one].Latest
		}
		return found[one].modified.After(found[other].modified)
	})
	return found, nil
}

func deleteMany(c call) error {
	objects := []types.ObjectIdentifier{}
	for _, key := range c.Keys {
		objects = append(objects, types.ObjectIdentifier{Key: aws.String(key)})
	}
	answer, err := client.DeleteObjects(background, &s3.DeleteObjectsInput{
		Bucket: &c.Bucket, Delete: &types.Delete{Objects: objects}})
	if err == nil && len(answer.Errors) > 0 {
		err = fmt.Errorf("%s: %s", *answer.Errors[0].Key, *answer.Errors[0].Code)
	}
	return err
}

func carryOut(c call) (value any, err error) {
	switch c.Op {
	case "create_bucket":
		_, err = client.CreateBucket(background, &s3.CreateBucketInput{Bucket: &c.Bucket})
	case "put":
		err = put(c)
	case "upload":
		err = upload(c)
	case "get":
		err = get(c)
	case "metadata":
		var answer *s3.HeadObjectOutput
		if answer, err = client.HeadObject(background, &s3.HeadObjectInput{Bucket: &c.Bucket, Key: &c.Key}); err == nil {
			value = answer.Metadata
		}
	case "list":
		value, err = list(c)
	case "copy":
		_, err = client.CopyObject(background, &s3.CopyObjectInput{
			Bucket: &c.Bucket, Key: &c.Key, CopySource: aws.String(url.QueryEscape(c.Bucket + "/" + c.Source))})
	case "put_tags":
		err = putTags(c)
	case "tags":
		value, err = tags(c)
	case "enable_versioning":
		_, err = client.PutBucketVersioning(background, &s3.PutBucketVersioningInput{
			Bucket:                  &c.Bucket,
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	case "versions":
		value, err = versions(c)
	case "presign":
		presigned, failed := s3.NewPresignClient(client).PresignGetObject(background, &s3.GetObjectInput{Bucket: &c.Bucket, Key: &c.Key})
		if err = failed; err == nil {
			value = presigned.URL
		}
	case "delete":
		_, err = client.DeleteObject(background, &s3.DeleteObjectInput{Bucket: &c.Bucket, Key: &c.Key})
	case "delete_many":
		err = deleteMany(c)
	default:
		err = fmt.Errorf("no call %q", c.Op)
	}
	return value, err
}

func main() {
	answers := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			panic(err)
		}
		value, err := carryOut(c)
		answer := map[string]any{"ok": value}
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		if err := answers.Encode(answer); err != nil {
			panic(err)
		}
	}
}
