-- What is misspelt is looked up among the words that a shop's products have, which are far fewer than its
-- products: a search costs the same in a large catalogue as in a small one.

set local lock_timeout = '5s';
set local statement_timeout = '10min';

create table search_word (
    tenant_id uuid not null,
    word text not null check (length(word) <= 40),
    primary key (tenant_id, word)
);
create index search_word_alike on search_word using gin (tenant_id, word gin_trgm_ops);

-- The words of a text that may be misspelt: no numbers, nothing endless.
create function search_words(text text) returns setof text
    language sql immutable parallel safe
    begin atomic
        select word from unnest(tsvector_to_array(to_tsvector('simple'::regconfig, text))) as word
         where length(word) <= 40 and word ~ '[[:alpha:]]';
    end;

-- Words stay when their products go: nothing is found by them any more.
create function note_search_words() returns trigger
    language plpgsql
    as $$
    declare
        made record;
    begin
        for made in execute
            'select n.tenant_id, array_agg(distinct w.word order by w.word) as words
               from new_rows n ' || case when tg_op = 'UPDATE' then
              ' join old_rows o on (o.tenant_id, o.id) = (n.tenant_id, n.id)
                    and o.search_text <> n.search_text' else '' end ||
             ' cross join search_words(n.search_text) as w (word)
              where not exists (
                  select from search_word s where (s.tenant_id, s.word) = (n.tenant_id, w.word))
              group by n.tenant_id
              order by n.tenant_id'
        loop
            -- One transaction after the other, so that no two wait for each other's words.
            perform pg_advisory_xact_lock(hashtextextended('search_word ' || made.tenant_id, 0));
            insert into search_word (tenant_id, word)
            select made.tenant_id, unnest(made.words) on conflict do nothing;
        end loop;
        return null;
    end
    $$;
create trigger note_words_inserted after insert on product
    referencing new table as new_rows
    for each statement execute function note_search_words();
create trigger note_words_updated after update on product
    referencing old table as old_rows new table as new_rows
    for each statement execute function note_search_words();

do $$
declare
    tenant uuid;
begin
    for tenant in select t.id from tenant t loop
        insert into search_word (tenant_id, word)
        select distinct tenant, w.word
          from product p cross join search_words(p.search_text) as w (word)
         where p.tenant_id = tenant;
    end loop;
end
$$;

-- What may have been meant by misspelt words: for each those that are most like it. A word that is like none is
-- left out; null where all are. `glue` is ' & ' or ' | '.
create function search_meant(tenant uuid, words text, glue text) returns tsquery
    language sql stable parallel safe
    set pg_trgm.word_similarity_threshold = 0.3
    as $$
        select string_agg('(' || meant.words || ')', glue)::tsquery
          from search_words(words) as given (word)
         cross join lateral (
            select string_agg('''' || replace(replace(word, '\', '\\'), '''', '''''') || '''', ' | ')
              from (select s.word, similarity(s.word, given.word) as alike,
                           max(similarity(s.word, given.word)) over () as best
                      from search_word s
                     where s.tenant_id = tenant and s.word %> given.word
                     order by alike desc, s.word
                     limit 5) near
             where alike >= 0.8 * best) as meant (words)
         where meant.words is not null
    $$;

-- What is sought by these words: themselves, where any product has them; else what may have been meant. Only by the
-- index of words: where there are none, a walk through the products would find that out too late.
create function search_query(tenant uuid, words text) returns tsquery
    language plpgsql stable parallel safe
    set enable_seqscan = off
    set enable_indexscan = off
    as $$
    declare
        wanted tsquery := websearch_to_tsquery('simple', words);
        meant tsquery;
    begin
        if exists (select from product p where p.tenant_id = tenant and p.search @@ wanted) then
            return wanted;
        end if;
        meant := search_meant(tenant, words, ' & ');
        if exists (select from product p where p.tenant_id = tenant and p.search @@ meant) then
            return meant;
        end if;
        return coalesce(search_meant(tenant, words, ' | '), wanted);
    end
    $$;

-- For the release before this one, while it still serves.
create or replace function product_matches(tenant uuid, words text) returns setof uuid
    language sql stable parallel safe
    as $$
        select id from product
         where tenant_id = tenant and search @@ (select search_query(tenant, words))
         limit 1000
    $$;
