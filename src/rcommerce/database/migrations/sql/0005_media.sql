-- Media: what a shop has uploaded. The bytes are in the store of objects, under names made from their
-- own hash, so that a name never means other bytes.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table media (
    tenant_id uuid not null,
    id uuid not null,
    -- SHA-256 of the bytes: the same file uploaded twice is one.
    hash bytea not null check (length(hash) = 32),
    content_type text not null,
    extension text not null check (extension ~ '^[a-z0-9]{2,5}$'),
    filename text not null default '',
    size_bytes bigint not null check (size_bytes > 0),
    -- Of images alone.
    width int check (width > 0),
    height int check (height > 0),
    -- [{name, format, path, width, height, size_bytes}], null until they are made.
    renditions jsonb check (jsonb_typeof(renditions) = 'array'),
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, hash)
);
create index media_by_created on media (tenant_id, created_at, id);

-- Below the store's root, and below /media or the public address.
create function media_path(tenant uuid, hash bytea, extension text) returns text
    language sql immutable parallel safe
    return tenant || '/' || encode(hash, 'hex') || '/original.' || extension;

-- Of a product's image that shows an upload, `src` holds media_path: an address is made of it when it
-- is shown.
alter table product_image add column media_id uuid;
alter table product_image add constraint product_image_media_fkey
    foreign key (tenant_id, media_id) references media (tenant_id, id) not valid;

create function image_src(src text, media uuid, base text) returns text
    language sql immutable parallel safe
    return case when media is null then src else base || '/' || src end;

alter table variant add column image_id uuid;
alter table variant add constraint variant_image_fkey
    foreign key (tenant_id, image_id) references product_image (tenant_id, id)
    on delete set null (image_id) not valid;

-- The formats of a rendition by its size: {"thumbnail": {"width", "height", "webp", "avif"}, …}.
create function media_renditions(renditions jsonb, base text) returns json
    language sql stable parallel safe
    return (
        select coalesce(json_object_agg(size.name, size.json), '{}')
          from (
            select r ->> 'name' as name,
                   (jsonb_build_object('width', (r -> 'width'), 'height', (r -> 'height'))
                    || jsonb_object_agg(f ->> 'format', base || '/' || (f ->> 'path')))::json as json
              from jsonb_array_elements(coalesce(renditions, '[]')) r
              join jsonb_array_elements(coalesce(renditions, '[]')) f on f ->> 'name' = r ->> 'name'
             group by r ->> 'name', r -> 'width', r -> 'height'
          ) size);

-- What shows an upload is untrue once its renditions are there.
create function invalidate_media() returns trigger
    language plpgsql
    as $$
    begin
        perform invalidate(i.tenant_id, array_agg(distinct 'product:' || i.product_id))
           from new_rows n join product_image i on (i.tenant_id, i.media_id) = (n.tenant_id, n.id)
          group by i.tenant_id;
        return null;
    end
    $$;
create trigger invalidate_updated after update on media
    referencing new table as new_rows
    for each statement execute function invalidate_media();
